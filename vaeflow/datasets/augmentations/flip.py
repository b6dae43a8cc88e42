"""Mirrored images."""

import tensorflow as tf

from vaeflow import random, registry, validation
from vaeflow.datasets.augmentations.base import Augmentation


@registry.augmentation
class RandomFlip(Augmentation):
    """Mirrors images, each with some probability.

    Labels stay as they are: do not mirror where they would become wrong, as of digits or positions.

    Args:
      horizontal: the probability that left and right change places.
      vertical: the probability that top and bottom change places, independently.

    Raises:
      ValueError: a probability is not in [0, 1].
    """

    keeps_values = True

    def __init__(self, horizontal: float = 0.5, vertical: float = 0.0):
        self.horizontal = validation.probability("RandomFlip.horizontal", horizontal)
        self.vertical = validation.probability("RandomFlip.vertical", vertical)

    def augment(self, images: tf.Tensor) -> tf.Tensor:
        drawn = random.uniform((images.shape[0], 2, 1, 1, 1), "float64")
        for draw, probability, axis in ((drawn[:, 0], self.horizontal, 2), (drawn[:, 1], self.vertical, 1)):
            images = tf.where(draw < probability, tf.reverse(images, [axis]), images)
        return images
