"""Turns the bytes of a PNG, JPEG or WebP image into an array; errors name where the bytes came from."""

import concurrent.futures
import functools
import os

import numpy as np
import tensorflow as tf

from vaeflow.errors import DataError

CHANNELS = (1, 3, 4)


def decode_image(data, source, channels, size=None):
    """Decodes one image and fits it to a size.

    It is scaled, antialiased, until it just covers `size`, keeping its aspect; what
    sticks out is cut off evenly on both sides.

    Args:
      data: the bytes of a PNG, JPEG, WebP, BMP or GIF (its first frame).
      source: where they came from, for the error.
      channels: 1 (gray), 3 (RGB; an alpha channel is dropped) or 4 (RGBA; not
        for JPEG).
      size: `(H, W)`, or None to keep the image's own.

    Returns:
      A NumPy array `[H, W, channels]`, uint8.

    Raises:
      DataError: the bytes are not such an image.
    """
    # TensorFlow decodes PNG and JPEG to gray itself, the other formats only to colour.
    to_gray = channels == 1 and data[:2] in (b"RI", b"BM", b"GI")
    try:
        # Tiny operations: on an accelerator each would wait for a transfer.
        with tf.device("CPU:0"):
            image = tf.io.decode_image(data, channels=3 if to_gray else channels, expand_animations=False)
            if to_gray:
                image = tf.image.rgb_to_grayscale(image)
            if size is not None and tuple(image.shape[:2]) != tuple(size):
                image = _cover(image, size)
            return image.numpy()
    except tf.errors.InvalidArgumentError as error:
        reason = error.message.split("} ")[-1].split(" [Op:")[0]
        raise DataError(
            f"{source} cannot be decoded as an image with {channels} channels: {reason}; "
            "replace or remove it"
        ) from error


def map_in_threads(function, items):
    """Applies a function to every item; decoding and reading release the interpreter lock.

    Args:
      function: a function of one item.
      items: what to apply it to.

    Returns:
      The results, a list in the order of `items`.
    """
    return list(_threads().map(function, items))


def _cover(image, size):
    """Scales `[h, w, C]` until it covers `size` and cuts off the rest: uint8 `[H, W, C]`."""
    own = np.array(image.shape[:2], np.float32)
    scale = np.float32(np.max(np.array(size, np.float32) / own))
    resized = tf.raw_ops.ScaleAndTranslate(
        images=image[None],
        size=tf.constant(size, tf.int32),
        scale=tf.constant([scale, scale]),
        translation=(np.array(size, np.float32) - scale * own) / 2,
        kernel_type="triangle",
        antialias=True,
    )
    return tf.cast(tf.clip_by_value(tf.round(resized[0]), 0, 255), tf.uint8)


@functools.cache
def _threads():
    return concurrent.futures.ThreadPoolExecutor(os.cpu_count(), thread_name_prefix="decoding")
