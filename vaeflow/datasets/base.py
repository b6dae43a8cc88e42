"""The base classes of sources of images: a dataset and its splits."""

import abc
import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from vaeflow import random, validation
from vaeflow.datasets import pixels
from vaeflow.errors import ConfigurationError, DataError, user_code

BINARIZATIONS = ("none", "static", "dynamic")
SPLITS = ("train", "evaluation")
VALIDATION = "validation"
ALL_SPLITS = (*SPLITS, VALIDATION)

_HELD_OUT_SEED = 20180717
_VALIDATION_SEED = 20131220


def held_out_split(
    name: str, num_examples: int, num_evaluation: int, setting: str, seed: int = _HELD_OUT_SEED
) -> np.ndarray:
    """Lists the examples of one split of a source that has no evaluation split.

    The choice is the same in every run, whatever its seed.

    Args:
      name: `"train"` or `"evaluation"`.
      num_examples: the number of examples in both splits together.
      num_evaluation: the number of examples held out for evaluation.
      setting: the setting that decides `num_evaluation`, e.g. `Arrays.evaluation_fraction`.
      seed: of the choice.

    Returns:
      The indices, an increasing int64 array.

    Raises:
      ConfigurationError: the split would be empty.
      ValueError: `name` is something else.
    """
    validation.one_of("split", name, SPLITS)
    # RandomState, unlike Generator, promises the same draw in every version of NumPy.
    order = np.random.RandomState(seed).permutation(num_examples)
    chosen = order[num_evaluation:] if name == "train" else order[:num_evaluation]
    if not len(chosen):
        raise ConfigurationError(
            f"`{setting}` holds out {num_evaluation} of {num_examples} examples, which leaves none "
            f"for the {name} split; change `{setting}`"
        )
    return np.sort(chosen).astype(np.int64)


def num_held_out(num_examples: int, fraction: float) -> int:
    """Returns how many of `num_examples` a fraction in [0, 1) holds out: at least 1, unless it is 0."""
    return max(1, round(fraction * num_examples)) if fraction else 0


def validation_part(name: str, num_examples: int, fraction: float, setting: str) -> np.ndarray:
    """Lists the training images that are trained on (`"train"`) or held out (`"validation"`).

    The choice is the same in every run; see `held_out_split` for the result and `Raises`.
    """
    part = "train" if name == "train" else "evaluation"
    held_out = num_held_out(num_examples, fraction)
    return held_out_split(part, num_examples, held_out, setting, _VALIDATION_SEED)


class Dataset(abc.ABC):
    """A source of images with a training and an evaluation split.

    The constructor checks the settings and reads no data; `load` does.

    Args:
      binarization: `"none"` keeps pixels in [0, 1]. `"static"` draws each pixel once from a
        Bernoulli distribution with the pixel's value as its probability, the same for the
        whole run and for every seed (Larochelle & Murray 2011; a draw of our own, not
        their published files). `"dynamic"` draws anew whenever an example is used
        (Salakhutdinov & Murray 2008).
      validation_fraction: the part of the training images that is held out for validation:
        a training is then evaluated on it, and its best checkpoint chosen by it, so that the
        evaluation split serves `vaeflow evaluate` alone. 0 for none, unless the source
        itself has a validation split.

    Raises:
      ValueError: a setting is out of range.

    Example:
        @registry.dataset
        class Stripes(Dataset):
            def load(self, name):
                count = {"train": 900, "evaluation": 100}[name]
                widths = np.random.default_rng(count).integers(1, 9, count)
                white = np.arange(16) // widths[:, None] % 2 == 0
                images = np.repeat(white[:, None, :, None], 16, axis=1)
                return InMemorySplit((images * 255).astype(np.uint8))
    """

    validation_fraction: float = 0.0

    def __init__(self, binarization: str = "none", validation_fraction: float = 0.0):
        own = type(self).__name__
        self.binarization = validation.one_of(f"{own}.binarization", binarization, BINARIZATIONS)
        self.validation_fraction = validation.fraction(f"{own}.validation_fraction", validation_fraction)

    @property
    def has_own_validation(self) -> bool:
        """Whether `load` also knows the split `"validation"`."""
        return False

    @abc.abstractmethod
    def load(self, name: str) -> "Split":
        """Reads a split as it is stored; `pipeline.read_split` also binarizes it.

        Args:
          name: `"train"` or `"evaluation"`; `"validation"` too if `has_own_validation`.

        Returns:
          A `Split`.

        Raises:
          DataError: the data is missing or unreadable. The message names file and record.
        """


class Split(abc.ABC):
    """Images that are read by index.

    Attributes:
      num_examples: the number of images.
      shape: `(H, W, C)` of an image.
      dtype: `"uint8"` (0 to 255) or `"float32"` (0 to 1), as `examples` gives them.
      factor_names: names of the known factors or labels of an example, or `()`.
      array: the whole split as one array `[N, H, W, C]`; None if it is not held in memory.
      binarization: as for `Dataset`; `pipeline.read_split` sets it, and `to_floats` reads it.
    """

    factor_names: tuple[str, ...] = ()
    array: np.ndarray | None = None
    binarization: str = "none"

    def __init__(self, num_examples: int, shape: Sequence[int], dtype: str):
        self.num_examples = validation.positive_count("num_examples", num_examples)
        self.shape = tuple(int(size) for size in shape)
        self.dtype = validation.one_of("dtype", dtype, ("uint8", "float32"))

    @abc.abstractmethod
    def examples(self, indices: tf.Tensor) -> tf.Tensor:
        """Returns the images at `indices`. It runs inside `tf.data`.

        Args:
          indices: an int64 tensor `[n]` with values in 0 … num_examples − 1.

        Returns:
          A tensor `[n, H, W, C]` of `dtype`.
        """

    def factors(self, indices: np.ndarray) -> np.ndarray | None:
        """Returns the factors at `indices` (NumPy `[n]`), int64 `[n, F]`; None if they are unknown."""
        return

    def fingerprint(self) -> str:
        """Describes the data in one line, which is another one if the data changes.

        It names the number of images, shape and dtype, and if it is cheap to know, a digest of the
        content.
        """
        shape, digest = " x ".join(map(str, self.shape)), self.content_digest()
        described = f"{self.num_examples} images of {shape}, {self.dtype}"
        return f"{described}, content {digest[:16]}" if digest else described

    def content_digest(self) -> str:
        """Returns a digest of the content in hexadecimal digits; empty if it costs too much to know."""
        return "" if self.array is None else hashlib.sha256(self.array.data).hexdigest()

    def to_floats(self, images: Any, dtype: str | tf.DType) -> tf.Tensor:
        """Casts and scales stored images on the device; draws their pixels if binarization is dynamic.

        Args:
          images: `[b, H, W, C]`, uint8 (0 to 255) or float32 (0 to 1), as stored.
          dtype: the dtype of the result, float32 or float64.

        Returns:
          `[b, H, W, C]`, `dtype`, in [0, 1]. Dynamic binarization draws each pixel with its
          own value as the probability; call it inside `random.keyed` then.
        """
        scaled = tf.cast(images, dtype)
        if images.dtype == tf.uint8:
            scaled /= 255.0
        if self.binarization == "dynamic":
            noise = random.uniform((tf.shape(images)[0], *images.shape[1:]), dtype)
            scaled = tf.cast(noise <= scaled, dtype)
        return scaled


def check_range(images: np.ndarray, what: str) -> None:
    """Raises `DataError` unless float images are all in [0, 1]; `what` names them."""
    if images.dtype != np.float32 or not images.size:
        return
    lowest, highest = float(np.min(images)), float(np.max(images))
    if not (lowest >= 0 and highest <= 1):  # Not a number is neither.
        raise DataError(
            f"{what} of float32 must have pixels in 0 to 1, they are {lowest:g} to {highest:g}; scale them, "
            "or give uint8 from 0 to 255"
        )


def _check_array(array: Any, layout: str | None, pixel_range: Any) -> None:
    is_array = isinstance(array, np.ndarray)
    has_axes = is_array and (array.ndim == 4 if layout is None else True)
    if not has_axes or (pixel_range is None and array.dtype.name not in pixels.NATIVE_RANGES):
        advice = "; add a channel axis, as in images[..., None]" if is_array and array.ndim == 3 else ""
        raise DataError(
            "images must be a NumPy array [N, H, W, C] of uint8 (0 to 255) or float32 (0 to 1), got "
            f"{user_code.described(array)}{advice}"
        )


class InMemorySplit(Split):
    """A split held as one array.

    Args:
      array: `[N, H, W, C]`, uint8 in 0 … 255, or floats in [0, 1], held as float32. Channels
        that come first, and uint8 of a smaller range, are refused.
      factors: int64 `[N, F]`; None if they are unknown.
      factor_names: the names of the F factors.
      binarization: `"none"`, or `"dynamic"` to draw the pixels whenever they are used.
      layout: as for `Arrays`.
      pixel_range: as for `Arrays`: the numbers of black and white, if they are not 0 and 255
        of uint8, or 0 and 1 of floats.

    Raises:
      DataError: the array is not what it would be taken for.
    """

    def __init__(
        self,
        array: np.ndarray,
        factors: np.ndarray | None = None,
        factor_names: Sequence[str] = (),
        binarization: str = "none",
        layout: str | None = None,
        pixel_range: Sequence[float] | None = None,
    ):
        _check_array(array, layout, pixel_range)
        description = pixels.Description("InMemorySplit", layout, pixel_range)
        images = _described_images(array, description)
        super().__init__(len(images), images.shape[1:], images.dtype.name)
        self.binarization = validation.one_of("binarization", binarization, BINARIZATIONS)
        self.array = np.ascontiguousarray(images)
        self.factor_names = tuple(factor_names)
        self._factors = factors

    def examples(self, indices: tf.Tensor) -> tf.Tensor:
        def gather(chosen):
            return self.array[chosen]  # pyright: ignore[reportOptionalSubscript] It is never None here.

        images = tf.numpy_function(gather, [indices], self.dtype, stateful=False)
        return tf.ensure_shape(images, (None, *self.shape))

    def factors(self, indices: np.ndarray) -> np.ndarray | None:
        return None if self._factors is None else self._factors[indices]


def _described_images(array: np.ndarray, description: pixels.Description) -> np.ndarray:
    """Checks an array in memory, and returns its images `[N, H, W, C]`, uint8 or float32."""
    place = "`InMemorySplit.array`"
    layout = description.layout_of(array.shape, place)
    description.check_dtype(array.dtype, place)
    seen = pixels.PixelRange(description, place)
    seen.see(array, 0)
    seen.check(refuses_black=False)
    return description.images(array, layout)
