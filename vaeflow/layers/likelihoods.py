"""Likelihoods p(x|z): what a decoder's output means."""

import math

import tensorflow as tf

from vaeflow import registry, validation
from vaeflow.distributions import Bernoulli, Gaussian
from vaeflow.layers.base import Layer


class Likelihood(Layer):
    """Turns a decoder's output into a distribution over images.

    Attributes:
      channels_per_channel: how many output channels the decoder makes for each
        channel of an image.
      measure: what `log_prob` is the logarithm of: `"probability"`, of pixels;
        `"density"`, over their values in 0 … 1; None for neither, not normalized.
    """

    channels_per_channel = 1
    measure = "probability"

    def distribution(self, outputs):
        """Returns p(x|z).

        Args:
          outputs: the decoder's, `[B, H, W, C · channels_per_channel]`.

        Returns:
          A distribution over `[B, H, W, C]` with `mean`, `sample` and `log_prob`.
        """
        raise NotImplementedError

    def call(self, outputs):
        """Returns the mean of p(x|z), `[B, H, W, C]`."""
        return self.distribution(outputs).mean


@registry.likelihood
class BernoulliLikelihood(Likelihood):
    """Each pixel is a Bernoulli with the decoder's output as its logit.

    On grey pixels this is the cross-entropy, as usual for MNIST (Kingma & Welling
    2014, arXiv:1312.6114, appendix C.1).
    """

    def build(self, input_shape):
        """Has no variables."""

    def distribution(self, outputs):
        return Bernoulli(outputs)


@registry.likelihood
class GaussianLikelihood(Likelihood):
    """Each pixel is a Gaussian around the decoder's output.

    Args:
      sigma: the standard deviation, in units of the pixels' range 0 … 1; the
        initial one where it is learned.
      learned: `"no"`; `"scalar"`, one σ for all pixels, learned (σ-VAE, Rybkin et
        al. 2021, arXiv:2006.13202); or `"per_pixel"`, the decoder gives a log
        variance for each pixel.
      normalized: False drops the constants of the density where σ is fixed; the
        loss is then no longer in nats of a density.
    """

    def __init__(self, sigma=1.0, learned="no", normalized=True, **kwargs):
        super().__init__(**kwargs)
        sigma = validation.positive_number("GaussianLikelihood.sigma", sigma)
        self.learned = validation.one_of("GaussianLikelihood.learned", learned, ("no", "scalar", "per_pixel"))
        if learned != "no" and not normalized:
            raise ValueError(
                "`GaussianLikelihood.normalized` must be True with a learned sigma, got False: without the "
                "constants sigma would grow without bound"
            )
        self.normalized = normalized
        self.measure = "density" if normalized else None
        self.initial_log_variance = 2.0 * math.log(sigma)
        self.channels_per_channel = 2 if learned == "per_pixel" else 1

    def build(self, input_shape):
        if self.learned == "scalar":
            self.log_variance = self.add_weight(
                name="log_variance",
                shape=(),
                initializer=lambda shape, dtype: tf.constant(self.initial_log_variance, dtype),
                autocast=False,
            )

    def distribution(self, outputs):
        if self.learned == "per_pixel":
            mean, excess = tf.split(outputs, 2, axis=-1)
            return Gaussian(mean, excess + tf.constant(self.initial_log_variance, excess.dtype))
        if self.learned == "scalar":
            return Gaussian(outputs, tf.convert_to_tensor(self.log_variance))
        return Gaussian(outputs, tf.constant(self.initial_log_variance, outputs.dtype), self.normalized)
