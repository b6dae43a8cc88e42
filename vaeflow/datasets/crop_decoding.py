"""Decodes a rectangle of an image, and of a JPEG little more than that."""

import dataclasses
from typing import Any

import numpy as np
import tensorflow as tf

from vaeflow.datasets import decoding
from vaeflow.datasets.augmentations import RandomCrop
from vaeflow.errors import DataError

# At its border, a decoded rectangle has other colours than in the whole image: libjpeg interpolates them.
_MARGIN = 2


class _TooSmallError(Exception):
    """An image is smaller than the crop; the message says how large they are."""


@dataclasses.dataclass(frozen=True)
class CropDecoder:
    """Decodes a rectangle of images of any size.

    An image is turned as its tag says, scaled with antialiasing until its shorter side has the
    wanted length, and cropped. Of a scaled JPEG only a half, a quarter or an eighth is decoded
    where at least twice the wanted size remains; of one in its own size, only the rows and
    columns around the rectangle are, with the same result as of the whole.

    Args:
      channels: 1, 3 or 4, as for `decode_image`.
      shorter_side: in pixels; None keeps the size of each image.
      crop: the `RandomCrop`.
    """

    channels: int
    shorter_side: int | None
    crop: RandomCrop

    @property
    def shape(self) -> tuple[int, ...]:
        """`(h, w, C)` of the results."""
        return (*self.crop.size, self.channels)

    def decode_named(self, data: bytes, source: object, draws: np.ndarray | None) -> np.ndarray:
        """Decodes in Python, so that an error names the file.

        Args:
          data: the bytes of an image.
          source: the file, for the error.
          draws: as for `RandomCrop.corners`, `[2]`; None takes the middle.

        Returns:
          A NumPy array of `shape`, uint8.

        Raises:
          DataError: the bytes are not an image, or it is smaller than the crop.
        """
        try:
            with tf.device("CPU:0"):
                return self.decode(*prepared(data), None if draws is None else tf.constant(draws)).numpy()
        except _TooSmallError as error:
            raise DataError(f"{source} {error}") from error
        except tf.errors.InvalidArgumentError as error:
            raise decoding.not_decoded(source, self.channels, error) from error

    def decode(self, data: Any, orientation: Any, draws: tf.Tensor | None) -> Any:
        """Decodes in TensorFlow operations, eagerly or in a graph: a tensor of `shape`, uint8.

        Args:
          data: a scalar string; `prepared` gives it and the orientation.
          orientation: a scalar int64.
          draws: as for `decode_named`.
        """
        if self.channels == 4:  # Which no JPEG has, as the error says.
            return self._of_image(data, orientation, draws)
        return tf.cond(
            tf.io.is_jpeg(data),
            lambda: self._of_jpeg(data, orientation, draws),
            lambda: self._of_image(data, orientation, draws),
        )

    def _of_image(self, data, orientation, draws):
        image = _turned(decoding.decode_in_graph(data, self.channels, None), orientation)
        own = tf.shape(image)[:2]
        scaled = self._scaled(own)
        return self._cut(image, scaled, self._corner(scaled, draws))

    def _of_jpeg(self, data, orientation, draws):
        stored = tf.io.extract_jpeg_shape(data)[:2]
        own = tf.where(orientation > 4, stored[::-1], stored)
        scaled = self._scaled(own)
        corner = self._corner(scaled, draws)
        if self.shorter_side is None:
            image = tf.cond(
                orientation == 1,
                lambda: _rectangle_of_jpeg(data, own, corner, self.crop.size),
                lambda: self._cut(_turned(_jpeg(data), orientation), scaled, corner),
            )
        else:
            most = tf.reduce_min(own) // (decoding.LEAST_REMAINING * self.shorter_side)
            reduced = decoding.reduced_jpeg(data, most)
            image = self._cut(_turned(reduced, orientation), scaled, corner)
        return tf.image.rgb_to_grayscale(image) if self.channels == 1 else image

    def _scaled(self, own):
        """Returns the size of a whole image once it is scaled, int32 `[2]`."""
        if self.shorter_side is None:
            return own
        factor = self.shorter_side / tf.reduce_min(own)
        return tf.cast(tf.round(tf.cast(own, tf.float64) * factor), tf.int32)

    def _corner(self, scaled, draws):
        if tf.executing_eagerly() and np.any(np.asarray(scaled) < self.crop.size):
            height, width = np.asarray(scaled)
            raise _TooSmallError(
                f"is {height}x{width} pixels, smaller than `RandomCrop.size`, "
                f"{self.crop.size[0]}x{self.crop.size[1]}; remove it or make the crop smaller"
            )
        if draws is None:
            return tf.stack(self.crop.center(scaled))
        return self.crop.corners(draws, scaled)

    def _cut(self, image, scaled, corner):
        """Scales a whole image, which may be reduced, to `scaled`, and cuts the rectangle at `corner`."""
        if self.shorter_side is None:
            return _rectangle(image, corner, self.crop.size)
        cut = tf.raw_ops.ScaleAndTranslate(
            images=tf.expand_dims(image, 0),
            size=tf.constant(self.crop.size, tf.int32),
            scale=tf.cast(scaled, tf.float32) / tf.cast(tf.shape(image)[:2], tf.float32),
            translation=-tf.cast(corner, tf.float32),
            kernel_type="triangle",
            antialias=True,
        )
        return tf.cast(tf.clip_by_value(tf.round(cut[0]), 0, 255), tf.uint8)


def prepared(data: bytes) -> tuple[bytes, np.int64]:
    """Returns the bytes of an image that TensorFlow can decode, and how it is to be turned."""
    if decoding.is_tiff(data):
        return decoding.upright(data), np.int64(1)
    return data, np.int64(decoding.orientation(data))


def _jpeg(data):
    return tf.io.decode_jpeg(data, channels=3)


def _rectangle_of_jpeg(data, own, corner, size):
    first = tf.maximum(corner - _MARGIN, 0)
    last = tf.minimum(corner + tf.constant(size) + _MARGIN, own)
    decoded = tf.io.decode_and_crop_jpeg(data, tf.concat([first, last - first], 0), channels=3)
    return _rectangle(decoded, corner - first, size)


def _rectangle(image, corner, size):
    return tf.slice(image, tf.concat([corner, [0]], 0), (*size, image.shape[2]))


def _turned(image, orientation):
    """Turns an image as the numbers of EXIF say: rows for columns, then the order of either."""
    image = tf.cond(orientation > 4, lambda: tf.transpose(image, (1, 0, 2)), lambda: image)
    for axis, mirrored in ((0, (3, 4, 7, 8)), (1, (2, 3, 6, 7))):
        is_mirrored = tf.reduce_any(orientation == tf.constant(mirrored, tf.int64))
        image = tf.cond(
            is_mirrored, lambda image=image, axis=axis: tf.reverse(image, [axis]), lambda image=image: image
        )
    return image
