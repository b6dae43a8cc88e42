"""Pixels as overdispersed counts."""

import math
from typing import Any

import tensorflow as tf

from vaeflow import registry, validation
from vaeflow.distributions import NegativeBinomial
from vaeflow.distributions.base import full_precision
from vaeflow.layers.base import Shape
from vaeflow.layers.likelihoods.base import Likelihood, checked_max_count


@registry.likelihood
class NegativeBinomialLikelihood(Likelihood):
    """Each number of an image is a negative binomial count, with the decoder's output as the log of its mean.

    Lopez et al. 2018 (scVI, arXiv:1709.02082) without zero inflation: the variance is μ + μ² / θ. For the
    same data as `PoissonLikelihood`.

    Args:
      inverse_dispersion: θ; the initial value if it is learned.
      learned: `"no"`; `"scalar"` learns one θ; with `"per_pixel"` the decoder outputs a log θ for each pixel.
      max_count: the count of a pixel of 1; see `PoissonLikelihood`.

    Raises:
      ValueError: a setting is out of range.
    """

    of_counts = True

    def __init__(
        self, inverse_dispersion: float = 1.0, learned: str = "scalar", max_count: int = 255, **kwargs: Any
    ):
        super().__init__(**kwargs)
        own = "NegativeBinomialLikelihood"
        theta = validation.positive_number(f"{own}.inverse_dispersion", inverse_dispersion)
        self.learned = validation.one_of(f"{own}.learned", learned, ("no", "scalar", "per_pixel"))
        self.max_count = checked_max_count(f"{own}.max_count", max_count)
        self.num_levels = self.max_count + 1
        self.initial_log_theta = math.log(theta)
        self.channels_per_channel = 2 if learned == "per_pixel" else 1

    def build(self, input_shape: Shape) -> None:
        if self.learned == "scalar":
            self.log_theta = self.add_scalar("log_inverse_dispersion", self.initial_log_theta)

    def distribution(self, outputs: tf.Tensor) -> NegativeBinomial:
        outputs = full_precision(outputs)
        log_theta: Any = tf.constant(self.initial_log_theta, outputs.dtype)
        if self.learned == "scalar":
            log_theta = tf.convert_to_tensor(self.log_theta)
        elif self.learned == "per_pixel":
            outputs, excess = tf.split(outputs, 2, axis=-1)
            log_theta += excess
        return NegativeBinomial(outputs, log_theta, self.max_count)
