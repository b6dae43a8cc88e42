"""Patches of two photographs that come with scikit-learn: natural images without a download."""

import hashlib
from collections.abc import Iterable
from typing import Any

import numpy as np
import tensorflow as tf

from vaeflow import registry, validation
from vaeflow.datasets.base import SPLITS, Dataset, Split
from vaeflow.errors import ConfigurationError, DataError

NAMES = ("china", "flower")
HEIGHT, WIDTH = 427, 640
# The columns of the evaluation; both photographs show their subject there and on both sides of it.
FIRST, LAST = 256, 383
LARGEST_SIZE = LAST - FIRST + 1
_STEPS_PER_PATCH = 4


@registry.dataset
class Photographs(Dataset):
    """Square patches of the photographs china and flower of scikit-learn: `[S, S, 3]`, uint8.

    The photographs (427x640 pixels, RGB) are files of scikit-learn, a temple above a lake and a
    dahlia before leaves. The columns 256 to 383 of both are for evaluation, and the columns
    0 to 255 and 384 to 639 for training; a patch lies in one of these regions, so no pixel is
    in both splits. The patches of a region overlap, and are cut out on demand: only the
    photographs are held in memory. The one factor is `photograph`, 0 for china and 1 for flower.

    With S = 32 there are 356,400 patches for training and 1,300 for evaluation, with S = 64
    281,008 and 230. They show two scenes only: enough to try a model on natural colours and
    textures, but no benchmark.

    Args:
      image_size: the side S in pixels, at most 128.
      stride: the distance in pixels between neighbouring patches for training, in rows and in
        columns. Those for evaluation are a quarter of S apart, whatever the stride.
      **kwargs: see `Dataset`; `validation_fraction` needs a stride of at least S.

    Raises:
      ConfigurationError: `image_size` is larger than the region of the evaluation, or patches held
        out for validation would overlap others.
      ValueError: another setting is out of range.
    """

    def __init__(self, image_size: int = 32, stride: int = 1, **kwargs: Any):
        super().__init__(**kwargs)
        self.image_size = validation.positive_integer("Photographs.image_size", image_size)
        self.stride = validation.positive_integer("Photographs.stride", stride)
        if self.image_size > LARGEST_SIZE:
            raise ConfigurationError(
                f"`Photographs.image_size` must be at most {LARGEST_SIZE}, the width of the region for "
                f"evaluation, got {image_size}"
            )
        if self.validation_fraction and self.stride < self.image_size:
            raise ConfigurationError(
                f"`Photographs.validation_fraction` = {self.validation_fraction} would hold out patches that "
                "overlap those that are trained on; set it to 0, or `Photographs.stride` to "
                f"{self.image_size} or more, got {self.stride}"
            )

    def load(self, name: str) -> Split:
        """Returns a split that cuts out its patches on demand; see `Dataset.load`."""
        validation.one_of("split", name, SPLITS)
        size, stride = self.image_size, self.stride
        if name == "evaluation":
            stride = max(1, size // _STEPS_PER_PATCH)
            columns = _starts(FIRST, LAST + 1, size, stride)
        else:
            columns = [*_starts(0, FIRST, size, stride), *_starts(LAST + 1, WIDTH, size, stride)]
        return PatchSplit(_photographs(), size, _starts(0, HEIGHT, size, stride), columns)


class PatchSplit(Split):
    """The patches at all combinations of some rows and columns, in the order of a page.

    Args:
      photographs: uint8 `[P, height, width, 3]`.
      size: the side of a patch in pixels.
      rows: the first rows of the patches.
      columns: their first columns.
    """

    factor_names = ("photograph",)

    def __init__(self, photographs: np.ndarray, size: int, rows: Iterable[int], columns: Iterable[int]):
        self._photographs = photographs
        self._rows, self._columns = np.array([*rows], np.int64), np.array([*columns], np.int64)
        self._num_per_photograph = len(self._rows) * len(self._columns)
        super().__init__(len(photographs) * self._num_per_photograph, (size, size, 3), "uint8")
        self.factor_sizes = (len(photographs),)

    def factors(self, indices: np.ndarray) -> np.ndarray:
        return (np.asarray(indices, np.int64) // self._num_per_photograph)[:, None]

    def labels(self, indices: tf.Tensor) -> tf.Tensor:
        with tf.device("CPU:0"):
            return _divided(indices, self._num_per_photograph)[0][:, None]

    def examples(self, indices: tf.Tensor) -> tf.Tensor:
        _, height, width, channels = self._photographs.shape
        with tf.device("CPU:0"):
            photograph, place = _divided(indices, self._num_per_photograph)
            row_number, column_number = _divided(place, len(self._columns))
            row = tf.gather(tf.constant(self._rows), row_number)
            column = tf.gather(tf.constant(self._columns), column_number)
            corner = (photograph * height + row) * width + column
            within = np.arange(self.shape[0])[:, None] * width + np.arange(self.shape[1])
            pixels = tf.constant(self._photographs.reshape(-1, channels))
            images = tf.gather(pixels, corner[:, None, None] + tf.constant(within))
            return tf.ensure_shape(images, (None, *self.shape))

    def content_digest(self) -> str:
        content = (self._photographs, self._rows, self._columns)
        return hashlib.sha256(b"".join(array.tobytes() for array in content)).hexdigest()


def _divided(numbers: tf.Tensor, divisor: int) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns quotients and remainders of non-negative int64 numbers."""
    return tf.math.floordiv(numbers, divisor), tf.math.floormod(numbers, divisor)


def _starts(first: int, end: int, size: int, stride: int) -> range:
    """Returns where patches begin that lie within first … end − 1."""
    return range(first, end - size + 1, stride)


def _photographs() -> np.ndarray:
    """Reads both photographs: uint8 `[2, 427, 640, 3]`."""
    from sklearn.datasets import load_sample_image

    try:
        photographs = np.stack([load_sample_image(f"{name}.jpg") for name in NAMES])
    # A damaged or missing file makes scikit-learn and Pillow raise several classes.
    except Exception as error:
        raise DataError(
            f"the photographs of scikit-learn cannot be read: {type(error).__name__}: {error}; install "
            "scikit-learn and Pillow again"
        ) from error
    if photographs.shape != (len(NAMES), HEIGHT, WIDTH, 3) or photographs.dtype != np.uint8:
        raise DataError(
            f"the photographs of scikit-learn are {photographs.dtype} {photographs.shape}; expected uint8 "
            f"{(len(NAMES), HEIGHT, WIDTH, 3)}; install scikit-learn again"
        )
    return photographs
