"""A split whose images stay on the disk, in one array of a `.npy` file."""

import hashlib
from typing import Any

import numpy as np
import tensorflow as tf

from vaeflow.datasets import pixels
from vaeflow.datasets.base import Split


class MappedSplit(Split):
    """Rows of an array in mapped memory, of which each batch reads its own.

    Args:
      array: a memory map, `[M, …]`.
      indices: the rows in the split, int64 `[N]`.
      description: what the user says of the array.
      layout: one of `pixels.LAYOUTS`.
      labelled: int64 labels `[N, F]`, and the names and sizes of the F factors; None if there are none.
      digest: SHA-256 of the images as they are read, in hexadecimal digits.
    """

    def __init__(
        self,
        array: np.ndarray,
        indices: np.ndarray,
        description: pixels.Description,
        layout: str,
        labelled: tuple[np.ndarray, tuple[str, ...], tuple[int, ...]] | None,
        digest: str,
    ):
        super().__init__(
            len(indices), pixels.image_shape(array.shape, layout), description.stored_dtype(array.dtype)
        )
        self._labels, self.factor_names, self.factor_sizes = labelled or (None, (), ())
        self._array = array
        self._indices = indices
        self._description = description
        self._layout = layout
        self._digest = digest

    def examples(self, indices: tf.Tensor) -> tf.Tensor:
        images = tf.numpy_function(self._read, [indices], self.dtype, stateful=False)
        return tf.ensure_shape(images, (None, *self.shape))

    def factors(self, indices: np.ndarray) -> np.ndarray | None:
        return None if self._labels is None else self._labels[indices]

    def content_digest(self) -> str:
        """That of an `InMemorySplit` of the same images: how they are held does not matter."""
        if self._labels is None:
            return self._digest
        return hashlib.sha256(self._digest.encode() + self._labels.tobytes()).hexdigest()

    def _read(self, indices: np.ndarray) -> Any:
        return self._description.images(np.asarray(self._array[self._indices[indices]]), self._layout)
