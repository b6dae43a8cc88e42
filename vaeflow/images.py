"""Arranges images in grids and writes them as PNG files."""

import numpy as np
import tensorflow as tf


def grid(images, columns, gap=2):
    """Arranges images in a grid on a white ground.

    Args:
      images: floats `[n, H, W, C]`, clipped to [0, 1].
      columns: the number of images in a row.
      gap: pixels between them.

    Returns:
      uint8 `[rows·(H + gap) + gap, columns·(W + gap) + gap, 1 or 3]`.
    """
    images = np.clip(np.asarray(images, np.float32), 0.0, 1.0)
    if images.shape[-1] not in (1, 3):
        images = images[..., :1] if images.shape[-1] == 2 else images[..., :3]
    count, height, width, channels = images.shape
    rows = -(-count // columns)
    canvas = np.ones((rows * (height + gap) + gap, columns * (width + gap) + gap, channels), np.float32)
    for index, image in enumerate(images):
        top = (index // columns) * (height + gap) + gap
        left = (index % columns) * (width + gap) + gap
        canvas[top : top + height, left : left + width] = image
    return np.round(canvas * 255).astype(np.uint8)


def write_png(path, pixels):
    """Writes uint8 `[H, W, 1 or 3]` as a PNG file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(tf.io.encode_png(pixels).numpy())
