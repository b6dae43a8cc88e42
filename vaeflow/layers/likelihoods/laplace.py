"""Pixels with Laplace noise: the L1 loss."""

import math
from typing import Any

import tensorflow as tf

from vaeflow import registry, validation
from vaeflow.distributions import Laplace
from vaeflow.layers.base import Shape
from vaeflow.layers.likelihoods.base import Likelihood


@registry.likelihood
class LaplaceLikelihood(Likelihood):
    """Each number of an image is a Laplace variable around the decoder's output: the L1 loss.

    −log p is Σ |x − x̂| / b + log 2b. Latent diffusion (Rombach et al. 2022, arXiv:2112.10752) writes its loss
    as |x − x̂| / exp(s) + s with a number s that it calls the log variance. Its pixels lie in −1 … 1, twice
    as far apart as here, so s is log 2b: the same loss, constant included, and s = 0 is b = 0.5.

    Args:
      scale: b, in units of the pixels' range 0 … 1; the initial value if it is learned. The mean of
        |x − x̂| is b where it fits, and the standard deviation is b √2.
      learned: `"no"`, or `"scalar"` for one b for all pixels.
      normalized: False drops the constants of the density, which needs a fixed b. The loss is then
        no longer the nats of a density.

    Raises:
      ValueError: a setting is out of range, or a learned b is not normalized.
    """

    def __init__(self, scale: float = 1.0, learned: str = "no", normalized: bool = True, **kwargs: Any):
        super().__init__(**kwargs)
        scale = validation.positive_number("LaplaceLikelihood.scale", scale)
        self.learned = validation.one_of("LaplaceLikelihood.learned", learned, ("no", "scalar"))
        self.normalized = validation.boolean("LaplaceLikelihood.normalized", normalized)
        if learned != "no" and not normalized:
            raise ValueError(
                "`LaplaceLikelihood.normalized` must be True with a learned scale, got False; without the "
                "constants the scale would grow without bound"
            )
        self.measure = "density" if normalized else None
        self.initial_log_scale = math.log(scale)

    def build(self, input_shape: Shape) -> None:
        if self.learned == "scalar":
            self.log_scale = self.add_scalar("log_scale", self.initial_log_scale)

    def distribution(self, outputs: tf.Tensor) -> Laplace:
        if self.learned == "scalar":
            return Laplace(outputs, tf.convert_to_tensor(self.log_scale))
        return Laplace(outputs, tf.constant(self.initial_log_scale, outputs.dtype), self.normalized)
