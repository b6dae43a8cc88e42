"""A cache of decoded images in a temporary file, and of their factors."""

import mmap
import os
import shutil
import tempfile
import weakref

import numpy as np
import tensorflow as tf
from absl import logging

from vaeflow.datasets.base import Split
from vaeflow.datasets.kept import ImageStore, KeptSplit

# Of the free space of the disk; the rest is left for checkpoints and other programs.
_LARGEST_SHARE_OF_DISK = 0.5
_UNREAD = np.iinfo(np.int64).min


class CachedSplit(KeptSplit):
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
        super().__init__(source, FileStore(source.num_examples, source.shape, source.dtype))
        self._factors = np.full((self.num_examples, len(self.factor_names)), _UNREAD)

    def factors(self, indices: np.ndarray) -> np.ndarray | None:
        if not self.factor_names:
            return None
        missing = indices[(self._factors[indices] == _UNREAD).any(axis=1)]
        if len(missing):
            self._factors[missing] = self._source.factors(missing)
        return self._factors[indices]

    def labels(self, indices: tf.Tensor) -> tf.Tensor:
        return Split.labels(self, indices)  # From the factors here, not from those of the source.


class FileStore(ImageStore):
    """Images in an unnamed temporary file; see `CachedSplit`.

    Args:
      num_images: the number of images of the split.
      shape: `(H, W, C)` of an image.
      dtype: of its pixels.
    """

    def __init__(self, num_images: int, shape: tuple[int, ...], dtype: str):
        self._bytes = int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize
        room = _LARGEST_SHARE_OF_DISK * shutil.disk_usage(tempfile.gettempdir()).free
        capacity = min(num_images, int(room) // self._bytes)
        super().__init__(capacity)
        self._accepts = capacity > 0
        file = tempfile.TemporaryFile(prefix="vaeflow-", buffering=0)  # noqa: SIM115 Lives with the store.
        self._descriptor = file.fileno()
        weakref.finalize(self, file.close)
        self._images = np.zeros((0, *shape), dtype)
        if self._accepts:
            # The file has this length and takes no space yet. It is written by calls that say when the disk
            # is full, where a write to mapped memory would kill the process; only what is written is read.
            os.ftruncate(self._descriptor, capacity * self._bytes)
            mapped = mmap.mmap(self._descriptor, capacity * self._bytes, prot=mmap.PROT_READ)
            self._images = np.frombuffer(mapped, dtype).reshape(capacity, *shape)

    def read(self, indices: np.ndarray) -> np.ndarray:
        return self._images[indices]

    def _write(self, indices: np.ndarray, images: np.ndarray) -> np.ndarray:
        for done, (index, image) in enumerate(zip(indices.tolist(), images, strict=True)):
            if not self._accepts or not self._is_written(index, image):
                return indices[:done]
        return indices

    def _is_written(self, index: int, image: np.ndarray) -> bool:
        try:
            written = os.pwrite(self._descriptor, image.tobytes(), index * self._bytes)
        except OSError as error:
            logging.warning("decoded images are no longer cached: %s", error)
            self._accepts = False
            return False
        return written == self._bytes
