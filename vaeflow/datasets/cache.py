"""A cache of decoded images in a temporary file, and of their factors."""

import math
import os
import shutil
import tempfile
import weakref

import numpy as np
import tensorflow as tf
from absl import logging

from vaeflow.datasets.base import Split
from vaeflow.datasets.derived import DerivedSplit

# Of the free space of the disk; the rest is left for checkpoints and other programs.
_LARGEST_SHARE_OF_DISK = 0.5
_UNREAD = np.iinfo(np.int64).min


class CachedSplit(DerivedSplit):
    """A split that decodes each image of another split once.

    The images are cached in an unnamed file in the folder for temporary files (`TMPDIR`),
    which disappears when the process ends, however it ends. It uses no memory beyond the
    page cache. If the split needs more than half of the free disk, only the first examples
    are cached; once a write fails, nothing more is. An image that changes after it was
    decoded stays as it was. Factors are read once too, and held in memory.

    Args:
      source: the split that decodes.
    """

    def __init__(self, source: Split):
        super().__init__(source)
        self._factors = np.full((self.num_examples, len(self.factor_names)), _UNREAD)
        self._bytes = math.prod(self.shape) * np.dtype(self.dtype).itemsize
        room = _LARGEST_SHARE_OF_DISK * shutil.disk_usage(tempfile.gettempdir()).free
        self._capacity = min(self.num_examples, int(room) // self._bytes)
        self._kept = np.zeros(self._capacity, bool)
        self._file = tempfile.TemporaryFile(prefix="vaeflow-", buffering=0)  # noqa: SIM115 Lives with the split.
        weakref.finalize(self, self._file.close)

    def factors(self, indices: np.ndarray) -> np.ndarray | None:
        if not self.factor_names:
            return None
        missing = indices[(self._factors[indices] == _UNREAD).any(axis=1)]
        if len(missing):
            self._factors[missing] = self._source.factors(missing)
        return self._factors[indices]

    def labels(self, indices: tf.Tensor) -> tf.Tensor:
        return Split.labels(self, indices)  # From the factors here, not from those of the source.

    def examples(self, indices: tf.Tensor) -> tf.Tensor:
        missing = tf.numpy_function(self._missing, [indices], tf.int64)
        decoded = self._source.examples(tf.ensure_shape(missing, (None,)))
        images = tf.numpy_function(self._merged, [indices, missing, decoded], self.dtype)
        return tf.ensure_shape(images, (None, *self.shape))

    def _missing(self, indices: np.ndarray) -> np.ndarray:
        """Returns those of the indices `[n]` whose images are not cached."""
        return indices[[not self._is_kept(index) for index in indices]]

    def _merged(self, indices: np.ndarray, missing: np.ndarray, decoded: np.ndarray) -> np.ndarray:
        """Caches the decoded images and merges them with those cached before: `[n, H, W, C]`."""
        fresh = dict(zip(missing, decoded, strict=True))
        for index, image in fresh.items():
            self._keep(index, image)
        images = np.empty((len(indices), *self.shape), self.dtype)
        for place, index in zip(images, indices, strict=True):
            place[:] = fresh[index] if index in fresh else self._read(index)
        return images

    def _is_kept(self, index: int) -> bool:
        return index < self._capacity and self._kept[index]

    def _keep(self, index: int, image: np.ndarray) -> None:
        if index >= self._capacity:
            return
        try:
            written = os.pwrite(self._file.fileno(), image.tobytes(), int(index) * self._bytes)
        except OSError as error:
            logging.warning("decoded images are no longer cached: %s", error)
            self._capacity = 0
            return
        self._kept[index] = written == self._bytes

    def _read(self, index: int) -> np.ndarray:
        data = os.pread(self._file.fileno(), self._bytes, int(index) * self._bytes)
        return np.frombuffer(data, self.dtype).reshape(self.shape)
