"""Turns the bytes of PNG, JPEG and WebP images into arrays; errors name where the bytes came from."""

import os

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
    try:
        # Tiny operations: on an accelerator each would wait for a transfer.
        with tf.device("CPU:0"):
            return _decode(data, channels, size).numpy()
    except tf.errors.InvalidArgumentError as error:
        reason = error.message.split("} ")[-1].split(" [Op:")[0]
        raise DataError(
            f"{source} cannot be decoded as an image with {channels} channels: {reason}; replace or remove it"
        ) from error


def decode_images(items, read, shape, fit, retry):
    """Decodes many images in parallel, inside a graph, so without Python's interpreter lock.

    An error inside a graph cannot say which file it met. So images that fail are
    left out first, and where there are any, `retry` decodes all of them again.

    Args:
      items: a tensor `[n]`.
      read: a function of one item in TensorFlow operations that gives the bytes
        of its image.
      shape: `(H, W, C)` of the results.
      fit: whether images of another size are fitted, as by `decode_image`; if not,
        they fail.
      retry: a function without arguments that gives the same images, a tensor, by
        `decode_image` in Python; its errors name what failed.

    Returns:
      A tensor `[n, H, W, C]`, uint8.
    """

    def decode(item):
        return tf.ensure_shape(_decode(read(item), shape[2], shape[:2] if fit else None), shape)

    count = tf.shape(items, out_type=tf.int64)[0]
    options = tf.data.Options()
    options.autotune.enabled = False
    decoded = tf.data.Dataset.from_tensor_slices(items).map(decode, os.cpu_count(), deterministic=True)
    # A batch needs one image at least.
    filler = tf.data.Dataset.from_tensors(tf.zeros(shape, tf.uint8))
    batch = decoded.ignore_errors().concatenate(filler).batch(count + 1).with_options(options)
    images = batch.get_single_element()[:-1]
    return tf.cond(tf.shape(images, out_type=tf.int64)[0] == count, lambda: images, retry)


def _decode(data, channels, size):
    """TensorFlow operations, eager or in a graph; see `decode_image`."""
    # WebP, BMP and GIF give no gray images.
    decoded_channels = 3 if channels == 1 else channels
    image = tf.io.decode_image(data, channels=decoded_channels, expand_animations=False)
    image = tf.ensure_shape(image, (None, None, decoded_channels))
    if channels == 1:
        image = tf.image.rgb_to_grayscale(image)
    return image if size is None else _cover(image, size)


def _cover(image, size):
    """Scales `[h, w, C]` until it covers `size` and cuts off the rest: uint8 `[H, W, C]`."""
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
