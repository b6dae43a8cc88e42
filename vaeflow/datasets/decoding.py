"""Turns the bytes of images into arrays: PNG, JPEG, WebP, GIF (its first frame), BMP and TIFF."""

import contextlib
import functools
import io
import os
import warnings
from collections.abc import Callable, Generator
from typing import Any

import numpy as np
import tensorflow as tf
from PIL import Image, ImageOps

from vaeflow import validation
from vaeflow.errors import ConfigurationError, DataError

CHANNELS = (1, 3, 4)
# An image is reduced so far only that this many times the wanted size remains.
LEAST_REMAINING = 2

_ORIENTATION = 0x0112  # The number of the tag in EXIF.
# JPEG decodes at these parts of its size for less time and memory.
_REDUCTIONS = (1, 2, 4, 8)
_TIFF = (b"II*\0", b"MM\0*")


def checked_image_size(name: str, value: Any) -> tuple[int, ...] | None:
    """Returns `(height, width)`, or None for None.

    Raises:
      ValueError: a size is not a positive integer.
      ConfigurationError: `value` has another length.
    """
    if value is None:
        return None
    size = validation.positive_integers(name, value)
    if len(size) != 2:
        raise ConfigurationError(f"`{name}` must be (height, width) or None, got {value!r}")
    return size


def decode_image(
    data: bytes,
    source: object,
    channels: int,
    size: tuple[int, ...] | None = None,
    dct_scaling: bool = False,
) -> np.ndarray:
    """Decodes one image and fits it to a size.

    The image is scaled with antialiasing until it just covers `size`, without changing its
    aspect ratio. What overlaps is cropped equally on both sides.

    Args:
      data: the bytes of an image, see above.
      source: the file or record of the bytes, for the error.
      channels: 1 (gray), 3 (RGB; an alpha channel is dropped) or 4 (RGBA; not
        for JPEG).
      size: `(H, W)`; None keeps the image's own.
      dct_scaling: whether a JPEG is scaled in its DCT first, see `reduced_jpeg`, if at least twice the
        wanted size remains.

    Returns:
      A NumPy array `[H, W, channels]`, uint8.

    Raises:
      DataError: the bytes are not such an image.
    """
    try:
        # On an accelerator each of these tiny operations would wait for a transfer.
        with tf.device("CPU:0"):
            return decode_in_graph(upright(data), channels, size, dct_scaling).numpy()
    except tf.errors.InvalidArgumentError as error:
        raise not_decoded(source, channels, error) from error


def not_decoded(source: object, channels: int, error: tf.errors.OpError) -> DataError:
    """Returns the error for bytes of `source` that TensorFlow cannot decode."""
    reason = error.message.split("} ")[-1].split(" [Op:")[0]
    return DataError(
        f"{source} cannot be decoded as an image with {channels} channels: {reason}; replace or remove it"
    )


def upright(data: bytes) -> bytes:
    """Returns an image that TensorFlow can decode, and that needs no turning.

    TensorFlow decodes no TIFF, and ignores the tag by which cameras say how an image is to be
    turned. Only such images are written anew, as PNG without loss; all others are returned as they are.

    Args:
      data: the bytes of an image.
    """
    if not is_tiff(data) and not _may_have_orientation(data):
        return data
    # What Pillow cannot read either, TensorFlow will describe. It raises nearly every class there is.
    with contextlib.suppress(Exception), silenced_pillow(), Image.open(io.BytesIO(data)) as image:
        if not is_tiff(data) and image.getexif().get(_ORIENTATION, 1) == 1:
            return data
        if image.mode[0] in "IF":  # 16 bits, or floats, which PNG would cut off.
            return data
        turned = ImageOps.exif_transpose(image)
        written = io.BytesIO()
        has_alpha = turned.has_transparency_data
        turned.convert("RGBA" if has_alpha else "RGB").save(written, "PNG", compress_level=1)
        return written.getvalue()
    return data


def orientation(data: bytes) -> int:
    """Returns how an image is to be turned, 1 to 8 as the tag in EXIF says; 1 leaves it as it is."""
    if not _may_have_orientation(data):
        return 1
    with contextlib.suppress(Exception), silenced_pillow(), Image.open(io.BytesIO(data)) as image:
        found = image.getexif().get(_ORIENTATION, 1)
        return found if found in range(1, 9) else 1
    return 1


def is_tiff(data: bytes) -> bool:
    """Whether bytes begin as a TIFF file, which TensorFlow cannot decode."""
    return data[:4] in _TIFF


def _may_have_orientation(data: bytes) -> bool:
    if data[:2] == b"\xff\xd8":
        return b"Exif\0" in data[:65536]
    if data[:4] == b"RIFF":
        return b"EXIF" in data
    return data[:4] == b"\x89PNG" and b"eXIf" in data


@contextlib.contextmanager
def silenced_pillow() -> Generator[None]:
    """Keeps Pillow's warnings of strange tags and large images from the user."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def decode_images(
    contents: tf.Tensor,
    shape: tuple[int, ...],
    fit: bool,
    retry: Callable[[], tf.Tensor],
    dct_scaling: bool = False,
) -> tf.Tensor:
    """Decodes images in parallel inside a graph; see `decode_in_parallel`.

    Args:
      contents: a tensor `[n]` of the bytes of images, made `upright`.
      shape: `(H, W, C)` of the results.
      fit: True fits images of another size as `decode_image` does; False fails on them.
      retry: returns the same images, decoded by `decode_image` in Python, whose errors name
        the file or record.
      dct_scaling: as for `decode_image`.

    Returns:
      A tensor `[n, H, W, C]`, uint8.
    """

    def decode(content):
        return decode_in_graph(content, shape[2], shape[:2] if fit else None, dct_scaling)

    return decode_in_parallel((contents,), decode, shape, retry)


def decode_in_parallel(
    elements: tuple[tf.Tensor, ...],
    decode: Callable[..., tf.Tensor],
    shape: tuple[int, ...],
    retry: Callable[[], tf.Tensor],
) -> tf.Tensor:
    """Decodes images in parallel inside a graph, free of Python's interpreter lock.

    An error inside a graph cannot name the file. So images that fail are skipped at first;
    if there are any, `retry` decodes all images again.

    Args:
      elements: tensors `[n, …]`, of which `decode` takes one row each.
      decode: returns one image, uint8.
      shape: `(H, W, C)` of the images.
      retry: returns all of them, decoded in Python, whose errors name the file or record.

    Returns:
      A tensor `[n, H, W, C]`, uint8.
    """

    @tf.autograph.experimental.do_not_convert
    def decode_one(*row):
        return tf.ensure_shape(decode(*row), shape)

    count = tf.shape(elements[0], out_type=tf.int64)[0]
    options = tf.data.Options()
    options.autotune.enabled = False
    decoded = tf.data.Dataset.from_tensor_slices(elements).map(decode_one, os.cpu_count(), deterministic=True)
    # A batch needs at least one image.
    filler = tf.data.Dataset.from_tensors(tf.zeros(shape, tf.uint8))
    batch = decoded.ignore_errors().concatenate(filler).batch(count + 1).with_options(options)
    images = batch.get_single_element()[:-1]
    return tf.cond(tf.shape(images, out_type=tf.int64)[0] == count, lambda: images, retry)


def decode_in_graph(
    data: bytes | tf.Tensor, channels: int, size: tuple[int, ...] | None, dct_scaling: bool = False
) -> Any:
    """Does the work of `decode_image` in TensorFlow operations, eagerly or in a graph."""
    # WebP, BMP and GIF cannot be decoded as gray images.
    decoded_channels = 3 if channels == 1 else channels

    def whole():
        return tf.io.decode_image(data, channels=decoded_channels, expand_animations=False)

    def reduced(wanted):
        own = tf.io.extract_jpeg_shape(data)[:2]
        return reduced_jpeg(data, tf.reduce_min(own // (LEAST_REMAINING * tf.constant(wanted))))

    if dct_scaling and size is not None and channels != 4:  # Which no JPEG has, as the error says.
        image = tf.cond(tf.io.is_jpeg(data), functools.partial(reduced, size), whole)
    else:
        image = whole()
    image = tf.ensure_shape(image, (None, None, decoded_channels))
    if channels == 1:
        image = tf.image.rgb_to_grayscale(image)
    return image if size is None else _cover(image, size)


def reduced_jpeg(data: Any, most: tf.Tensor) -> Any:
    """Decodes a JPEG at a half, a quarter or an eighth of its size, or at its own.

    The decoder leaves coefficients of the discrete cosine transform out, which takes less time and memory
    than scaling the pixels, and gives other pixels.

    Args:
      data: a scalar string.
      most: a scalar int32, the largest allowed reduction; less than 2 decodes it as it is.

    Returns:
      A tensor `[h, w, 3]`, uint8.
    """
    number = tf.reduce_sum(tf.cast(most >= tf.constant(_REDUCTIONS[1:]), tf.int32))
    branches = [lambda r=r: tf.io.decode_jpeg(data, channels=3, ratio=r) for r in _REDUCTIONS]
    return tf.switch_case(number, branches)


def _cover(image: tf.Tensor, size: tuple[int, ...]) -> tf.Tensor:
    """Scales `[h, w, C]` until it covers `size`, and crops it: uint8 `[H, W, C]`."""
    own = tf.cast(tf.shape(image)[:2], tf.float32)
    wanted = tf.constant(size, tf.float32)
    scale = tf.reduce_max(wanted / own)
    resized = tf.raw_ops.ScaleAndTranslate(
        images=tf.expand_dims(image, 0),
        size=tf.constant(size, tf.int32),
        scale=tf.stack([scale, scale]),
        translation=(wanted - scale * own) / 2,
        kernel_type="triangle",
        antialias=True,
    )
    return tf.cast(tf.clip_by_value(tf.round(resized[0]), 0, 255), tf.uint8)
