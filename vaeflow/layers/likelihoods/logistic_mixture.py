"""Pixels as one of 256 levels, of a discretized mixture of logistic distributions."""

from typing import Any

import tensorflow as tf

from vaeflow import registry, validation
from vaeflow.distributions import LogisticMixture
from vaeflow.layers.base import Shape
from vaeflow.layers.likelihoods.base import Likelihood, checked_num_levels


@registry.likelihood
class LogisticMixtureLikelihood(Likelihood):
    """Each place is a mixture of K logistic distributions, rounded to levels, over all its channels.

    Salimans et al. 2017 (arXiv:1701.05517, sections 2.1 and 2.2), for any number C of channels: each channel
    depends linearly on the channels before it. The decoder outputs K (1 + 2 C + C (C − 1) / 2) numbers for
    each place, 10 K for colours and 3 K for grey: in turn the K logits, means, log scales and coefficients,
    those of the channels one after the other; tanh bounds the coefficients.

    Args:
      num_components: K; the paper has 5 (section 2.1), its code for CIFAR-10 has 10.
      num_levels: L, 256 for bytes; see `CategoricalLikelihood`.

    Raises:
      ValueError: a setting is out of range.
    """

    def __init__(self, num_components: int = 10, num_levels: int = 256, **kwargs: Any):
        super().__init__(**kwargs)
        own = "LogisticMixtureLikelihood"
        self.num_components = validation.positive_integer(f"{own}.num_components", num_components)
        self.num_levels: int = checked_num_levels(f"{own}.num_levels", num_levels)

    def num_outputs(self, num_channels: int) -> int:
        return self.num_components * (1 + 2 * num_channels + num_channels * (num_channels - 1) // 2)

    def build(self, input_shape: Shape) -> None:
        """Has no variables."""

    def distribution(self, outputs: Any) -> LogisticMixture:
        channels, of_place = self.num_channels(outputs.shape[-1]), outputs.shape[1:-1]
        sizes = (1, channels, channels, channels * (channels - 1) // 2)
        rows = tf.reshape(outputs, (-1, *of_place, sum(sizes), self.num_components))
        logits, means, log_scales, coefficients = tf.split(rows, sizes, axis=-2)
        return LogisticMixture(
            tf.squeeze(logits, axis=-2), means, log_scales, tf.tanh(coefficients), self.num_levels
        )
