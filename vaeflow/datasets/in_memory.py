"""A split that is held in memory as one array, of images and labels checked once."""

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from vaeflow import validation
from vaeflow.datasets import labels, pixels
from vaeflow.datasets.base import BINARIZATIONS, Split
from vaeflow.errors import DataError, user_code


class InMemorySplit(Split):
    """A split held as one array.

    Args:
      array: `[N, H, W, C]`, uint8 in 0 … 255, or floats in [0, 1], held as float32. Channels
        that come first, and uint8 of a smaller range, are refused.
      factors: the labels, an array `[N]` or `[N, F]` of integers from 0 on, of bools, or of
        floats that are whole numbers; held as int64 `[N, F]`. None if they are unknown.
      factor_names: the names of the F factors; by default `label`, or `label_0`, `label_1`, ….
      binarization: `"none"`, or `"dynamic"` to draw the pixels whenever they are used.
      layout: as for `Arrays`.
      pixel_range: as for `Arrays`: the numbers of black and white, if they are not 0 and 255
        of uint8, or 0 and 1 of floats.
      factor_sizes: the F numbers of values of the factors, the same for training and
        evaluation; None takes the largest label of each plus 1.

    Raises:
      DataError: the array or the factors are not what they would be taken for.
      ValueError: another argument is out of range.
    """

    def __init__(
        self,
        array: np.ndarray,
        factors: np.ndarray | None = None,
        factor_names: Sequence[str] = (),
        binarization: str = "none",
        layout: str | None = None,
        pixel_range: Sequence[float] | None = None,
        factor_sizes: Sequence[int] | None = None,
    ):
        _check_array(array, layout, pixel_range)
        description = pixels.Description("InMemorySplit", layout, pixel_range)
        images = _described_images(array, description)
        super().__init__(len(images), images.shape[1:], images.dtype.name)
        self.binarization = validation.one_of("binarization", binarization, BINARIZATIONS)
        self.array = np.ascontiguousarray(images)
        self._factors = self._described_factors(factors, factor_names, factor_sizes)

    def examples(self, indices: tf.Tensor) -> tf.Tensor:
        def gather(chosen):
            return self.array[chosen]  # pyright: ignore[reportOptionalSubscript] It is never None here.

        images = tf.numpy_function(gather, [indices], self.dtype, stateful=False)
        return tf.ensure_shape(images, (None, *self.shape))

    def factors(self, indices: np.ndarray) -> np.ndarray | None:
        return None if self._factors is None else self._factors[indices]

    def content_digest(self) -> str:
        digest = super().content_digest()
        if self._factors is None:
            return digest
        return hashlib.sha256(digest.encode() + self._factors.tobytes()).hexdigest()

    def _described_factors(self, factors: Any, names: Sequence[str], sizes: Any) -> np.ndarray | None:
        """Checks the factors, and keeps their names and sizes: int64 `[N, F]`, or None."""
        if factors is None:
            labels.checked_names(names, 0, "`InMemorySplit.factor_names` without factors")
            self.factor_sizes = ()
            return None
        found = labels.checked(factors, "`InMemorySplit.factors`")
        if len(found) != self.num_examples:
            raise DataError(
                f"`InMemorySplit.factors` holds the labels of {len(found)} images; expected one row for each "
                f"of the {self.num_examples} images"
            )
        num_factors = found.shape[1]
        self.factor_names = labels.checked_names(names, num_factors, "`InMemorySplit.factor_names`")
        if sizes is None:
            self.factor_sizes = labels.sizes_of(found)
        else:
            self.factor_sizes = labels.checked_sizes(sizes, num_factors, "InMemorySplit.factor_sizes")
            labels.check_sizes(found, self.factor_names, self.factor_sizes, self.describe)
        return found


def with_factors_of(split: Split, images: np.ndarray, indices: np.ndarray) -> InMemorySplit:
    """Makes a split of images that have the factors of another split at `indices`.

    Args:
      split: the other `Split`.
      images: `[n, H, W, C]`, uint8 in 0 … 255 or float32 in [0, 1].
      indices: the numbers of the examples of `split`, int64 `[n]`.
    """
    return InMemorySplit(
        images,
        split.factors(indices) if split.factor_names else None,
        split.factor_names,
        layout="NHWC",
        pixel_range=pixels.NATIVE_RANGES[images.dtype.name],
        factor_sizes=split.factor_sizes,
    )


def _described_images(array: np.ndarray, description: pixels.Description) -> np.ndarray:
    """Checks an array in memory, and returns its images `[N, H, W, C]`, uint8 or float32."""
    place = "`InMemorySplit.array`"
    layout = description.layout_of(array.shape, place)
    description.check_dtype(array.dtype, place)
    seen = pixels.PixelRange(description, place)
    seen.see(array, 0)
    seen.check(refuses_black=False)
    return description.images(array, layout)


def _check_array(array: Any, layout: str | None, pixel_range: Any) -> None:
    is_array = isinstance(array, np.ndarray)
    has_axes = is_array and (array.ndim == 4 if layout is None else True)
    if not has_axes or (pixel_range is None and array.dtype.name not in pixels.NATIVE_RANGES):
        advice = "; add a channel axis, as in images[..., None]" if is_array and array.ndim == 3 else ""
        raise DataError(
            "images must be a NumPy array [N, H, W, C] of uint8 (0 to 255) or float32 (0 to 1), got "
            f"{user_code.described(array)}{advice}"
        )
