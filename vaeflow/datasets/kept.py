"""Splits that keep each image once it was made: where the images are kept, and how they are read again."""

import abc
import math

import numpy as np
import tensorflow as tf

from vaeflow.datasets.base import Split
from vaeflow.datasets.derived import DerivedSplit


class ImageStore(abc.ABC):
    """A place for some of the images of a split. Its methods may be called in several threads at a time.

    Args:
      capacity: the number of images, the first of the split, that it has room for.
    """

    def __init__(self, capacity: int):
        self._is_kept = np.zeros(capacity, bool)

    def knows(self, indices: np.ndarray) -> np.ndarray:
        """Says which of the images at `indices`, int64 `[n]`, are kept: bool `[n]`."""
        inside = indices < len(self._is_kept)
        return inside & self._is_kept[np.where(inside, indices, 0)] if len(self._is_kept) else inside

    @abc.abstractmethod
    def read(self, indices: np.ndarray) -> np.ndarray:
        """Returns the images at `indices`, all of which are kept: `[n, H, W, C]`."""

    def write(self, indices: np.ndarray, images: np.ndarray) -> None:
        """Keeps those of the images `[n, H, W, C]` that there is room for."""
        inside = indices < len(self._is_kept)
        written = self._write(indices[inside], images[inside])
        self._is_kept[written] = True

    @abc.abstractmethod
    def _write(self, indices: np.ndarray, images: np.ndarray) -> np.ndarray:
        """Writes images that there is room for, and returns the indices of those that are written."""


class BitStore(ImageStore):
    """Black and white images in memory, one bit for each pixel.

    Args:
      num_images: the number of images of the split.
      shape: `(H, W, C)` of an image of uint8, whose pixels are 0 or 255.
      most_bytes: the memory that the store may take. It is taken as images are written.
    """

    def __init__(self, num_images: int, shape: tuple[int, ...], most_bytes: int):
        self._shape = shape
        row = -(-math.prod(shape) // 8)
        super().__init__(min(num_images, most_bytes // row))
        self._bits = np.zeros((len(self._is_kept), row), np.uint8)

    def read(self, indices: np.ndarray) -> np.ndarray:
        ones = np.unpackbits(self._bits[indices], axis=1, count=math.prod(self._shape))
        return np.negative(ones, out=ones).reshape(-1, *self._shape)  # 0 − 1 is 255 in uint8.

    def _write(self, indices: np.ndarray, images: np.ndarray) -> np.ndarray:
        self._bits[indices] = np.packbits(images.reshape(len(images), math.prod(self._shape)), axis=1)
        return indices


class KeptSplit(DerivedSplit):
    """The images of another split, each made once.

    Args:
      source: the split that makes them.
      store: where they are kept; those that it has no room for are made anew.
    """

    def __init__(self, source: Split, store: ImageStore):
        super().__init__(source)
        self._store = store

    def examples(self, indices: tf.Tensor) -> tf.Tensor:
        # On an accelerator, the small operations around the store would wait for transfers.
        with tf.device("CPU:0"):
            is_kept = tf.numpy_function(self._store.knows, [indices], tf.bool)
            is_kept = tf.ensure_shape(is_kept, (None,))

            def read():
                return tf.numpy_function(self._store.read, [indices], self.dtype)

            def make():
                missing = tf.boolean_mask(indices, ~is_kept)
                made = self._source.examples(missing)
                return tf.numpy_function(self._merged, [indices, is_kept, made], self.dtype)

            images = tf.cond(tf.reduce_all(is_kept), read, make)
            return tf.ensure_shape(images, (None, *self.shape))

    def _merged(self, indices: np.ndarray, is_kept: np.ndarray, made: np.ndarray) -> np.ndarray:
        """Keeps the images that were made, and puts them among the others: `[n, H, W, C]`."""
        self._store.write(indices[~is_kept], made)
        if not is_kept.any():
            return made
        images = np.empty((len(indices), *self.shape), self.dtype)
        images[~is_kept] = made
        images[is_kept] = self._store.read(indices[is_kept])
        return images
