"""Pixels with Gaussian noise, of a fixed or learned σ."""

import math
from typing import Any

import tensorflow as tf

from vaeflow import registry, validation
from vaeflow.distributions import Gaussian
from vaeflow.layers.base import Shape
from vaeflow.layers.likelihoods.base import Likelihood


@registry.likelihood
class GaussianLikelihood(Likelihood):
    """Each pixel is a Gaussian around the decoder's output.

    Args:
      sigma: the standard deviation, in units of the pixels' range 0 … 1; the initial
        value if it is learned.
      learned: `"no"`; `"scalar"` learns one σ for all pixels (σ-VAE, Rybkin et al. 2021,
        arXiv:2006.13202); with `"per_pixel"` the decoder outputs a log variance for each
        pixel.
      normalized: False drops the constants of the density, which needs a fixed σ. The
        loss is then no longer the nats of a density.

    Raises:
      ValueError: a setting is out of range, or a learned σ is not normalized.
    """

    of_any_numbers = True

    def __init__(self, sigma: float = 1.0, learned: str = "no", normalized: bool = True, **kwargs: Any):
        super().__init__(**kwargs)
        sigma = validation.positive_number("GaussianLikelihood.sigma", sigma)
        self.learned = validation.one_of("GaussianLikelihood.learned", learned, ("no", "scalar", "per_pixel"))
        self.normalized = validation.boolean("GaussianLikelihood.normalized", normalized)
        if learned != "no" and not normalized:
            raise ValueError(
                "`GaussianLikelihood.normalized` must be True with a learned sigma, got False; without the "
                "constants sigma would grow without bound"
            )
        self.measure = "density" if normalized else None
        self.initial_log_variance = 2.0 * math.log(sigma)
        self.channels_per_channel = 2 if learned == "per_pixel" else 1

    def build(self, input_shape: Shape) -> None:
        if self.learned == "scalar":
            self.log_variance = self.add_scalar("log_variance", self.initial_log_variance)

    def distribution(self, outputs: tf.Tensor) -> Gaussian:
        if self.learned == "per_pixel":
            mean, excess = tf.split(outputs, 2, axis=-1)
            return Gaussian(mean, excess + tf.constant(self.initial_log_variance, excess.dtype))
        if self.learned == "scalar":
            return Gaussian(outputs, tf.convert_to_tensor(self.log_variance))
        return Gaussian(outputs, tf.constant(self.initial_log_variance, outputs.dtype), self.normalized)
