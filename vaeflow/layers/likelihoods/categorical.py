"""Pixels as one of 256 levels, each with a probability of its own."""

from typing import Any

import tensorflow as tf

from vaeflow import registry
from vaeflow.distributions import CategoricalLevels
from vaeflow.layers.base import Shape
from vaeflow.layers.likelihoods.base import Likelihood, checked_num_levels


@registry.likelihood
class CategoricalLikelihood(Likelihood):
    """Each number of an image is one of L levels, for which the decoder outputs L logits.

    van den Oord et al. 2016 (arXiv:1601.06759, section 2.2). Any shape of distribution fits, and neighbouring
    levels know nothing of one another. The decoder has L outputs for each channel: a convolution is
    the cheaper last layer.

    Args:
      num_levels: L, 256 for bytes. Pixels must be k / (L − 1): an array of whole numbers 0 … 16 has
        `Arrays.pixel_range = (0, 16)`, and 17 levels.

    Raises:
      ValueError: `num_levels` is not a number from 2 to 65,536.
    """

    def __init__(self, num_levels: int = 256, **kwargs: Any):
        super().__init__(**kwargs)
        self.num_levels: int = checked_num_levels("CategoricalLikelihood.num_levels", num_levels)
        self.channels_per_channel = self.num_levels

    def build(self, input_shape: Shape) -> None:
        """Has no variables."""

    def distribution(self, outputs: Any) -> CategoricalLevels:
        """Takes the L logits of channel 0, then those of channel 1, …; see `Likelihood.distribution`."""
        channels = outputs.shape[-1] // self.channels_per_channel
        return CategoricalLevels(tf.reshape(outputs, (-1, *outputs.shape[1:-1], channels, self.num_levels)))
