"""Likelihoods p(x|z): how a decoder's output becomes a distribution over images."""

import math
from typing import Any

import tensorflow as tf

from vaeflow import registry, validation
from vaeflow.distributions import Bernoulli, Gaussian, ImageDistribution, Laplace
from vaeflow.layers.base import Layer, Shape


class Likelihood(Layer):
    """Turns a decoder's output into a distribution over images.

    Attributes:
      channels_per_channel: the number of decoder outputs for each channel of an image.
      measure: the quantity whose logarithm `log_prob` is: `"probability"` of the pixels;
        `"binary"`, a probability only of pixels that are 0 or 1; `"density"` over their
        values in 0 … 1; None if it is not normalized.

    Example:
        @registry.likelihood
        class FixedGaussianLikelihood(Likelihood):
            measure = "density"

            def build(self, input_shape):
                pass

            def distribution(self, outputs):
                return Gaussian(outputs, tf.constant(-2.0, outputs.dtype))
    """

    channels_per_channel: int = 1
    measure: str | None = "probability"

    def distribution(self, outputs: tf.Tensor) -> ImageDistribution:
        """Returns p(x|z).

        Args:
          outputs: the decoder's output, `[B, H, W, C · channels_per_channel]`.

        Returns:
          A distribution over `[B, H, W, C]`.
        """
        raise NotImplementedError(f"{type(self).__name__} must implement `distribution`")

    def call(self, outputs: tf.Tensor) -> tf.Tensor:
        """Returns the mean of p(x|z), `[B, H, W, C]`."""
        return self.distribution(outputs).mean


@registry.likelihood
class BernoulliLikelihood(Likelihood):
    """Each pixel is a Bernoulli variable with the decoder's output as its logit.

    Grey pixels are scored by the cross-entropy, as is usual for MNIST (Kingma & Welling
    2014, arXiv:1312.6114, appendix C.1).
    """

    measure = "binary"

    def build(self, input_shape: Shape) -> None:
        """Has no variables."""

    def distribution(self, outputs: tf.Tensor) -> Bernoulli:
        return Bernoulli(outputs)


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
            self.log_variance = self.add_weight(
                name="log_variance",
                shape=(),
                initializer=lambda _, dtype: tf.constant(self.initial_log_variance, dtype),
                autocast=False,
            )

    def distribution(self, outputs: tf.Tensor) -> Gaussian:
        if self.learned == "per_pixel":
            mean, excess = tf.split(outputs, 2, axis=-1)
            return Gaussian(mean, excess + tf.constant(self.initial_log_variance, excess.dtype))
        if self.learned == "scalar":
            return Gaussian(outputs, tf.convert_to_tensor(self.log_variance))
        return Gaussian(outputs, tf.constant(self.initial_log_variance, outputs.dtype), self.normalized)


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
            self.log_scale = self.add_weight(
                name="log_scale",
                shape=(),
                initializer=lambda _, dtype: tf.constant(self.initial_log_scale, dtype),
                autocast=False,
            )

    def distribution(self, outputs: tf.Tensor) -> Laplace:
        if self.learned == "scalar":
            return Laplace(outputs, tf.convert_to_tensor(self.log_scale))
        return Laplace(outputs, tf.constant(self.initial_log_scale, outputs.dtype), self.normalized)
