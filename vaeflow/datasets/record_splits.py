"""The splits of `RandomAccess`: some records of an object, with their labels, read on demand."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from vaeflow.datasets import pixels
from vaeflow.datasets.decoded_split import EncodedImages, IndexedSplit
from vaeflow.datasets.records import Records, as_png
from vaeflow.errors import DataError, user_code


class RecordImages(EncodedImages):
    """Some records of an object, as encoded images with labels.

    Args:
      records: the `Records`.
      chosen: the numbers of those in the split, int64 `[N]`.
      sizes_of_labels: returns the number of values of each of the F factors.
      layout: of images that are arrays, one of `pixels.LAYOUTS`.
    """

    def __init__(
        self,
        records: Records,
        chosen: np.ndarray,
        sizes_of_labels: Callable[[], Sequence[int]],
        layout: str,
    ):
        self.records = records
        self.chosen = chosen
        self.factor_names = records.label_names()
        self._sizes_of_labels = sizes_of_labels
        self._channels_first = layout == "NCHW"

    def __len__(self) -> int:
        return len(self.chosen)

    @property
    def factor_sizes(self) -> Sequence[int]:
        return self._sizes_of_labels() if self.factor_names else ()

    def contents(self, indices: np.ndarray) -> list[bytes]:
        numbers = self.chosen[indices].tolist()
        found = []
        for number, image in zip(numbers, self.records.images(numbers), strict=True):
            if self._channels_first and isinstance(image, np.ndarray):
                image = np.moveaxis(image, 0, 2)
            found.append(as_png(image, self.records.describe(number)))
        return found

    def factors(self, indices: np.ndarray) -> np.ndarray | None:
        if not self.factor_names:
            return None
        found = self.records.labels(self.chosen[indices].tolist())
        return found.reshape(len(indices), -1 if len(indices) else len(self.factor_names))

    def describe(self, index: int) -> str:
        return self.records.describe(int(self.chosen[index]))

    def digest(self) -> str:
        return self.records.digest(self.chosen)


class RecordArrays(IndexedSplit):
    """Some records of an object whose images are arrays of one shape.

    Args:
      images: the `RecordImages`.
      stored_image: the shape and dtype of every image, as the object gives it.
      description: what the user says of the arrays.
      layout: of them, one of `pixels.LAYOUTS`.
    """

    def __init__(
        self,
        images: RecordImages,
        stored_image: tuple[tuple[int, ...], np.dtype[Any]],
        description: pixels.Description,
        layout: str,
    ):
        shape, dtype = stored_image
        super().__init__(images, pixels.image_shape((1, *shape), layout), description.stored_dtype(dtype))
        self._records, self._chosen = images.records, images.chosen
        self._stored_image = stored_image
        self._description = description
        self._layout = layout

    def examples(self, indices: tf.Tensor) -> tf.Tensor:
        images = tf.numpy_function(self._read, [indices], self.dtype, stateful=False)
        return tf.ensure_shape(images, (None, *self.shape))

    def _read(self, indices: np.ndarray) -> np.ndarray:
        return self._description.images(self.arrays(indices), self._layout)

    def arrays(self, indices: np.ndarray) -> np.ndarray:
        """Reads images as the object gives them, and checks them: `[n, …]`.

        Raises:
          DataError: one has another shape, dtype or range than the first.
        """
        shape, dtype = self._stored_image
        numbers = self._chosen[indices].tolist()
        arrays = np.empty((len(numbers), *shape), dtype)
        for place, (number, image) in enumerate(zip(numbers, self._records.images(numbers), strict=True)):
            if isinstance(image, bytes) or (image.shape, image.dtype) != self._stored_image:
                given = "encoded" if isinstance(image, bytes) else user_code.described(image)
                raise DataError(
                    f"{self._records.describe(number)}: the image is {given}; expected the shape {shape} and "
                    f"{dtype} of the first training image; set `RandomAccess.image_size` to fit images of "
                    "other sizes, and `RandomAccess.channels` if some are grey"
                )
            arrays[place] = image
        self._check_range(arrays, numbers)
        return arrays

    def _check_range(self, arrays: np.ndarray, numbers: Sequence[int]) -> None:
        if not arrays.size or self.dtype == "uint8":
            return
        low, high = self._description.pixel_range or pixels.NATIVE_RANGES["float32"]
        if arrays.min() >= low and arrays.max() <= high:  # Not a number is neither.
            return
        inside = (arrays >= low) & (arrays <= high)
        place = int(np.argmin(inside.reshape(len(arrays), -1).all(axis=1)))
        value = arrays[place][~inside[place]][0]
        raise DataError(
            f"{self._records.describe(numbers[place])}: a pixel is {value}; expected a finite number in "
            f"[{low:g}, {high:g}]; set `RandomAccess.pixel_range`, or clip the pixels"
        )
