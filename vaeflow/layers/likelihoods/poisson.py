"""Pixels as Poisson counts."""

from typing import Any

import tensorflow as tf

from vaeflow import registry
from vaeflow.distributions import Poisson
from vaeflow.layers.base import Shape
from vaeflow.layers.likelihoods.base import Likelihood, checked_max_count


@registry.likelihood
class PoissonLikelihood(Likelihood):
    """Each number of an image is a Poisson count, with the decoder's output as the log of its rate.

    For counts that are stored as images: bytes are counts of 0 … 255, and larger ones come from
    `Arrays` with `pixel_range = (0, N)` and `max_count = N` here. Other pixels and binarized ones are
    refused. The rate is not bounded by N; what the distribution gives to counts above it is the code
    length that it wastes. The Poisson decoder of count data is for instance in Zhao et al. 2020
    (arXiv:1905.00616).

    Args:
      max_count: N, the count of a pixel of 1.

    Raises:
      ValueError: `max_count` is not a number from 1 to 1,048,575.
    """

    of_counts = True

    def __init__(self, max_count: int = 255, **kwargs: Any):
        super().__init__(**kwargs)
        self.max_count = checked_max_count("PoissonLikelihood.max_count", max_count)
        self.num_levels = self.max_count + 1

    def build(self, input_shape: Shape) -> None:
        """Has no variables."""

    def distribution(self, outputs: tf.Tensor) -> Poisson:
        return Poisson(outputs, self.max_count)
