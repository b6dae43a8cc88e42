"""Priors p(z) over the latents."""

import tensorflow as tf

from vaeflow import registry
from vaeflow.distributions import Gaussian
from vaeflow.layers.base import Layer


class Prior(Layer):
    """A distribution over latents; subclasses may hold variables.

    `build` gets the shape of the latents, `(None, D)`.
    """

    def kl(self, posterior, latents):
        """Returns KL(q(z|x) ‖ p(z)) per example, in nats, exact or estimated.

        Args:
          posterior: q(z|x), a `Gaussian` with `[B, D]`.
          latents: z ~ q(z|x), `[B, D]`.

        Returns:
          `[B]`.
        """
        raise NotImplementedError

    def kl_per_dimension(self, posterior, latents):
        """Returns the same for each latent dimension, `[B, D]`."""
        raise NotImplementedError

    def log_prob(self, latents):
        """Returns log p(z) per example, in nats, `[B]`, for `latents` `[B, D]`."""
        raise NotImplementedError

    def sample(self, noise):
        """Transforms standard normal `noise` `[n, D]` into samples `[n, D]`."""
        raise NotImplementedError


@registry.prior
class StandardNormalPrior(Prior):
    """p(z) = N(0, I) (Kingma & Welling 2014, arXiv:1312.6114, section 3)."""

    def build(self, input_shape):
        """Has no variables."""

    def kl(self, posterior, latents):
        """Returns the closed form (arXiv:1312.6114, appendix B), `[B]`."""
        return tf.reduce_sum(self.kl_per_dimension(posterior, latents), axis=1)

    def kl_per_dimension(self, posterior, latents):
        """Returns ½ (mean² + variance − log variance − 1), `[B, D]`."""
        zero = tf.zeros([], posterior.mean.dtype)
        return posterior.kl_per_dimension(Gaussian(zero, zero))

    def log_prob(self, latents):
        """Returns −½ Σ (z² + log 2π) over the latents of each example, `[B]`."""
        zero = tf.zeros([], latents.dtype)
        return Gaussian(zero, zero).log_prob(latents)

    def sample(self, noise):
        return noise
