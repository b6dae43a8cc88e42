"""Rectangles cut out of images at random places."""

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from vaeflow import random, registry, validation
from vaeflow.datasets.augmentations.base import Augmentation
from vaeflow.errors import ConfigurationError


@registry.augmentation
class RandomCrop(Augmentation):
    """Cuts a rectangle of a fixed size out of each image, at a place that is drawn uniformly.

    Of H rows it keeps h: its first row is `floor(u · (H − h + 1))` with u uniform in (0, 1), and so
    for the columns. Evaluation, and everything else outside of the training steps, sees the
    rectangle in the middle, from row `(H − h) // 2` on. It must come first in
    the list of augmentations.

    Args:
      size: `(h, w)` in pixels, or one number for a square.

    Raises:
      ValueError: a size is not a positive integer.
      ConfigurationError: `size` has another length.
    """

    keeps_values = True

    def __init__(self, size: int | Sequence[int]):
        listed = size if isinstance(size, (list, tuple)) else (size, size)
        self.size = validation.positive_integers("RandomCrop.size", listed)
        if len(self.size) != 2:
            raise ConfigurationError(f"`RandomCrop.size` must be (height, width) or one number, got {size!r}")

    def check_shape(self, shape: tuple[int, ...]) -> None:
        if shape[0] < self.size[0] or shape[1] < self.size[1]:
            raise ConfigurationError(
                f"`RandomCrop.size` must be at most the size of the images, {shape[0]}x{shape[1]}, got "
                f"{self.size[0]}x{self.size[1]}; make it smaller"
            )

    def augment(self, images: tf.Tensor) -> tf.Tensor:
        """Cuts images `[b, H, W, C]` of any dtype: `[b, h, w, C]`."""
        corners = self.corners(self.draw(images.shape[0]), images.shape[1:3])
        rows = corners[:, :1] + tf.range(self.size[0])
        columns = corners[:, 1:] + tf.range(self.size[1])
        cut = tf.gather(images, rows, axis=1, batch_dims=1)
        return tf.gather(cut, columns, axis=2, batch_dims=1)

    def draw(self, num_examples: Any) -> tf.Tensor:
        """Draws where to cut: float64 `[n, 2]` in (0, 1). Call it inside `random.keyed`."""
        return random.uniform((num_examples, 2), "float64")  # Never 1, as float32 would be.

    def corners(self, draws: tf.Tensor, sizes: Any) -> tf.Tensor:
        """Returns the first row and column of rectangles.

        Args:
          draws: what `draw` returned, `[..., 2]`.
          sizes: the heights and widths of the images, integers `[..., 2]` or `[2]`.

        Returns:
          int32 `[..., 2]`.
        """
        places = tf.cast(sizes, tf.float64) - tf.constant(self.size, tf.float64) + 1.0
        return tf.cast(tf.floor(draws * places), tf.int32)

    def center(self, sizes: Any) -> Any:
        """Returns the first row and column of the rectangle in the middle, integers as `sizes` `[2]`."""
        return [(sizes[axis] - self.size[axis]) // 2 for axis in (0, 1)]
