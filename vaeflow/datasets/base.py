"""The base classes of sources of images: a dataset and its splits."""

import abc
import functools
import hashlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from vaeflow import random, validation
from vaeflow.datasets import labels
from vaeflow.datasets.augmentations import (
    Augmentation,
    RandomCrop,
    check_keep_values,
    checked_augmentations,
)
from vaeflow.errors import DataError

BINARIZATIONS = ("none", "static", "dynamic")
SPLITS = ("train", "evaluation")
VALIDATION = "validation"
ALL_SPLITS = (*SPLITS, VALIDATION)
GRID = "grid"  # All combinations of the factors; see `Dataset.load_grid`.
# What the examples of a split are -> the dtypes that they may be stored as.
DTYPES = {"images": ("uint8", "float32"), "codes": ("int32",), "latents": ("float32",)}


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
      augmentations: random changes of the training images, in this order: a list of
        `Augmentation`s, in gin `[@RandomCrop(), @RandomFlip()]`. A crop comes first, and everything
        outside of the training steps sees the middle of the images.
      num_labelled: how many training images keep their label in training steps, as many of each of its
        values; the others have a label one above the largest, which stands for "not known". For a model
        that learns from both, `M2`. None keeps all.

    Raises:
      ConfigurationError: a crop is not the first augmentation, or static binarization meets one that
        makes other pixels.
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
    augmentations: tuple[Augmentation, ...] = ()
    num_labelled: int | None = None

    def __init__(
        self,
        binarization: str = "none",
        validation_fraction: float = 0.0,
        augmentations: Sequence[Augmentation] = (),
        num_labelled: int | None = None,
    ):
        own = type(self).__name__
        self.binarization = validation.one_of(f"{own}.binarization", binarization, BINARIZATIONS)
        self.validation_fraction = validation.fraction(f"{own}.validation_fraction", validation_fraction)
        self.augmentations = checked_augmentations(f"{own}.augmentations", augmentations)
        if num_labelled is not None:
            validation.positive_integer(f"{own}.num_labelled", num_labelled)
        self.num_labelled = num_labelled
        if self.binarization == "static":
            check_keep_values(self.augmentations, f"{own}.binarization")

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

    def for_training(self, split: "Split") -> "Split":
        """Returns what training steps see of a split: the same, unless a dataset adds to the images."""
        return split

    def load_grid(self) -> "Split | None":
        """Reads an image for every combination of the values of its factors, once each, in any order.

        Returns:
          A `Split` with factors, whose images may also be in the other splits; None if the source cannot
          give an image for every combination.

        Raises:
          DataError: as for `load`.
        """
        return None


class Split(abc.ABC):
    """Images, or what a tokenizer made of them, read by index.

    Attributes:
      num_examples: the number of images.
      shape: `(H, W, C)` of an image; `(h, w, G)` of codes, and `(h, w, D)` of latents.
      dtype: `"uint8"` (0 to 255) or `"float32"` (0 to 1), as `examples` gives images; `"int32"` of
        codes, and `"float32"` (any number) of latents.
      content: `"images"`, `"codes"` or `"latents"`; a model says by `Model.takes` which it is
        for. All three are called `images` in a batch.
      code_sizes: how many values each of the G codes of a place has, or `()`.
      factor_names: names of the F known factors of an example, or `()`.
      array: the whole split as one array `[N, H, W, C]`; None if it is not held in memory.
      binarization: as for `Dataset`; `pipeline.read_split` sets it, and `to_floats` reads it.
      crop: the `RandomCrop` that is cut where images of mixed sizes are decoded: `examples` gives
        the middle of each, `crops` another place. None for images of one size.
      has_unknown_labels: whether the largest value of the label stands for "not known".
      has_pairs: whether `examples` gives two images of each example, one after the other along the
        channels, so that `stored_shape` has twice those of `shape`.
    """

    code_sizes: tuple[int, ...] = ()
    factor_names: tuple[str, ...] = ()
    array: np.ndarray | None = None
    binarization: str = "none"
    crop: RandomCrop | None = None
    has_unknown_labels: bool = False
    has_pairs: bool = False

    def __init__(self, num_examples: int, shape: Sequence[int], dtype: str, content: str = "images"):
        self.num_examples = validation.positive_count("num_examples", num_examples)
        self.shape = tuple(int(size) for size in shape)
        self.content = validation.one_of("content", content, tuple(DTYPES))
        self.dtype = validation.one_of("dtype", dtype, DTYPES[content])

    @abc.abstractmethod
    def examples(self, indices: tf.Tensor) -> tf.Tensor:
        """Returns the images at `indices`. It runs inside `tf.data`.

        Args:
          indices: an int64 tensor `[n]` with values in 0 … num_examples − 1.

        Returns:
          A tensor `[n, H, W, C]` of `dtype`.
        """

    def crops(self, indices: tf.Tensor, draws: tf.Tensor) -> tf.Tensor:
        """Returns rectangles as `examples` does, at the places of `draws`; see `RandomCrop.corners`."""
        raise NotImplementedError

    @property
    def stored_shape(self) -> tuple[int, ...]:
        """The shape of an image as `examples` gives it; larger than `shape` if it is cropped or a pair."""
        return self.shape

    def factors(self, indices: np.ndarray) -> np.ndarray | None:
        """Returns the factors at `indices` (NumPy `[n]`), int64 `[n, F]`; None if they are unknown."""
        return

    @functools.cached_property
    def factor_sizes(self) -> tuple[int, ...]:
        """The number of values of each factor, the same in all splits: labels are in 0 … size − 1.

        A source that knows them sets the attribute. Otherwise they are the largest of this
        split's own factors plus 1, all of which are then read once.

        Raises:
          DataError: the factors are no labels, or in evaluation one is that no training image has.
        """
        if not self.factor_names:
            return ()
        return labels.sizes_of(self._checked_factors(np.arange(self.num_examples)))

    def labels(self, indices: tf.Tensor) -> tf.Tensor:
        """Returns the factors at `indices` as a model takes them. It runs inside `tf.data`.

        Args:
          indices: an int64 tensor `[n]` with values in 0 … num_examples − 1.

        Returns:
          An int64 tensor `[n, F]`, in the order of `factor_names`; F is 0 if no factor is known.
        """
        sizes = self.factor_sizes  # What is wrong with them is said here, not inside `tf.data`.

        def read(chosen: np.ndarray) -> np.ndarray:
            return self._checked_factors(chosen, sizes) if sizes else np.zeros((len(chosen), 0), np.int64)

        found = tf.numpy_function(read, [indices], tf.int64, stateful=False)
        return tf.ensure_shape(found, (None, len(sizes)))

    def describe(self, index: int) -> str:
        """Names an example for an error."""
        return f"example {index}"

    def _checked_factors(self, indices: np.ndarray, sizes: Sequence[int] | None = None) -> np.ndarray:
        """Reads factors, and checks them as labels: int64 `[n, F]`."""

        def describe(row: int) -> str:
            return self.describe(int(indices[row]))

        place = f"`{type(self).__name__}.factors`"
        found = labels.checked(self.factors(indices), place, describe)
        if found.shape != (len(indices), len(self.factor_names)):
            raise DataError(
                f"{place} must return int64 [n, {len(self.factor_names)}], one column for each of "
                f"{', '.join(self.factor_names)}; it returned {found.shape} for {len(indices)} indices"
            )
        if sizes is not None:
            labels.check_sizes(found, self.factor_names, sizes, describe)
        return found

    def fingerprint(self) -> str:
        """Describes the data in one line, which is another one if the data changes.

        It names the number of images, shape and dtype, and if it is cheap to know, a digest of the
        content.
        """
        shape, digest = " x ".join(map(str, self.shape)), self.content_digest()
        described = f"{self.num_examples} {self.content} of {shape}, {self.dtype}"
        return f"{described}, content {digest[:16]}" if digest else described

    def content_digest(self) -> str:
        """Returns a digest of the content in hexadecimal digits; empty if it costs too much to know."""
        return "" if self.array is None else hashlib.sha256(self.array.data).hexdigest()

    def to_floats(
        self,
        images: Any,
        dtype: str | tf.DType,
        augment: Callable[[tf.Tensor], tf.Tensor] | None = None,
    ) -> tf.Tensor:
        """Casts and scales stored images on the device; draws their pixels if binarization is dynamic.

        Args:
          images: `[b, H, W, C]`, uint8 (0 to 255) or float32 (0 to 1), as stored; or codes, or latents.
          dtype: the dtype of the result, float32 or float64.
          augment: changes the scaled images; None leaves them.

        Returns:
          `[b, H, W, C]`, `dtype`, in [0, 1]. Dynamic binarization draws each pixel with its
          own value as the probability; call it inside `random.keyed` then. Codes stay the integers
          that they are, and latents any numbers.
        """
        if self.content == "codes":
            return tf.convert_to_tensor(images)
        scaled = tf.cast(images, dtype)
        if images.dtype == tf.uint8:
            scaled /= 255.0
        if augment is not None:
            scaled = augment(scaled)
        if self.binarization == "dynamic":
            noise = random.uniform((tf.shape(images)[0], *images.shape[1:]), dtype)
            scaled = tf.cast(noise <= scaled, dtype)
        return scaled
