"""Decoded images, kept in a temporary file, so that each is decoded once."""

import math
import os
import shutil
import tempfile

import numpy as np
import tensorflow as tf
from absl import logging

from vaeflow.datasets.base import Split

# Of what is free on the disk; the rest is for checkpoints and for others.
_LARGEST_SHARE_OF_DISK = 0.5


class CachedSplit(Split):
    """A split that keeps what another one has decoded.

    The file has no name, lies in the folder for temporary files (`TMPDIR`), and is gone
    when the process ends, however it ends. It takes no memory but the system's own cache
    of the disk. Of a split that would take more than half of the free disk, the first
    examples are kept; where the disk refuses, none are from then on. A change to an
    image's source is seen until it was first decoded.

    Args:
      source: the `Split` that decodes.
    """

    def __init__(self, source):
        super().__init__(source.num_examples, source.shape, source.dtype)
        self.factor_names = source.factor_names
        self._source = source
        self._bytes = math.prod(self.shape) * np.dtype(self.dtype).itemsize
        room = _LARGEST_SHARE_OF_DISK * shutil.disk_usage(tempfile.gettempdir()).free
        self._capacity = min(self.num_examples, int(room) // self._bytes)
        self._kept = np.zeros(self._capacity, bool)
        self._file = tempfile.TemporaryFile(prefix="vaeflow-", buffering=0)

    def factors(self, indices):
        return self._source.factors(indices)

    def examples(self, indices):
        missing = tf.numpy_function(self._missing, [indices], tf.int64)
        decoded = self._source.examples(tf.ensure_shape(missing, (None,)))
        images = tf.numpy_function(self._merged, [indices, missing, decoded], self.dtype)
        return tf.ensure_shape(images, (None, *self.shape))

    def _missing(self, indices):
        """Those of the indices `[n]` whose images must be decoded."""
        return indices[[not self._is_kept(index) for index in indices]]

    def _merged(self, indices, missing, decoded):
        """Keeps the decoded images, and gives them in one array with those kept before, `[n, H, W, C]`."""
        fresh = dict(zip(missing, decoded))
        for index, image in fresh.items():
            self._keep(index, image)
        images = np.empty((len(indices), *self.shape), self.dtype)
        for place, index in zip(images, indices):
            place[:] = fresh[index] if index in fresh else self._read(index)
        return images

    def _is_kept(self, index):
        return index < self._capacity and self._kept[index]

    def _keep(self, index, image):
        if index >= self._capacity:
            return
        try:
            written = os.pwrite(self._file.fileno(), image.tobytes(), int(index) * self._bytes)
        except OSError as error:
            logging.warning("decoded images are no longer kept: %s", error)
            self._capacity = 0
            return
        self._kept[index] = written == self._bytes

    def _read(self, index):
        data = os.pread(self._file.fileno(), self._bytes, int(index) * self._bytes)
        return np.frombuffer(data, self.dtype).reshape(self.shape)
