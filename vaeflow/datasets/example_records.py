"""The images and labels of `tf.train.Example` records."""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from vaeflow.datasets.decoded_split import EncodedImages, IndexedSplit
from vaeflow.datasets.pixels import Description
from vaeflow.datasets.record_files import RecordIndex, read_value
from vaeflow.errors import DataError


class ExampleImages(EncodedImages):
    """Some records of an index, each an image and perhaps a label.

    Args:
      index: the positions of all records.
      chosen: the numbers of the records in the split, int64 `[N]`.
      image_key: the bytes feature with the image.
      label_key: the integer feature with the label; None for none.
      num_classes: returns the number of values of the label.
    """

    def __init__(
        self,
        index: RecordIndex,
        chosen: np.ndarray,
        image_key: str,
        label_key: str | None,
        num_classes: Callable[[], int],
    ):
        self.factor_names = () if label_key is None else ("label",)
        self._index, self._chosen = index, chosen
        self._image_key, self._label_key = image_key, label_key
        self._num_classes = num_classes

    def __len__(self) -> int:
        return len(self._chosen)

    @functools.cached_property
    def factor_sizes(self) -> tuple[int, ...]:
        return (self._num_classes(),) if self.factor_names else ()

    def contents(self, indices: np.ndarray) -> list[bytes]:
        return [
            read_value(self._index, each, self._image_key, "bytes_list") for each in self._records(indices)
        ]

    def factors(self, indices: np.ndarray) -> np.ndarray | None:
        key = self._label_key
        if key is None:
            return None
        values = [read_value(self._index, each, key, "int64_list") for each in self._records(indices)]
        return np.array(values, np.int64)[:, None]

    def describe(self, index: int) -> str:
        return self._index.describe(int(self._chosen[index]))

    def digest(self) -> str:
        return self._index.content_digest()

    def _records(self, indices: np.ndarray) -> list[int]:
        return self._chosen[indices].tolist()


class RawSplit(IndexedSplit):
    """Images whose pixels are stored row by row.

    Args:
      images: the `ExampleImages`.
      shape: `(H, W, C)` of all images.
      description: how pixels are stored.
    """

    def __init__(self, images: ExampleImages, shape: tuple[int, ...], description: Description):
        super().__init__(images, shape, description.stored_dtype(np.dtype(np.uint8)))
        self._description = description

    def examples(self, indices: tf.Tensor) -> tf.Tensor:
        images = tf.numpy_function(self._read, [indices], self.dtype, stateful=False)
        return tf.ensure_shape(images, (None, *self.shape))

    def _read(self, indices: np.ndarray) -> np.ndarray:
        pairs = zip(indices.tolist(), self._images.contents(indices), strict=True)
        return np.array([self._image(*pair) for pair in pairs], self.dtype).reshape(-1, *self.shape)

    def _image(self, index: int, data: bytes) -> np.ndarray:
        expected = int(np.prod(self.shape))
        if len(data) != expected:
            raise DataError(
                f"{self.describe(index)}: the image has {len(data)} bytes, expected {expected} for the shape "
                f"{self.shape}; set `TFRecords.shape`, or `TFRecords.image_format` to 'encoded'"
            )
        height, width, channels = self.shape
        first = self._description.layout == "NCHW"
        image = np.frombuffer(data, np.uint8).reshape((channels, height, width) if first else self.shape)
        return self._description.images(image[None], "NCHW" if first else "NHWC")[0]
