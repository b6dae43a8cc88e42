"""Priors p(z) over the latents."""

from typing import Any

import tensorflow as tf

from vaeflow import registry
from vaeflow.distributions import Gaussian
from vaeflow.errors import user_code
from vaeflow.layers.base import Layer, Shape

# What the methods of a prior return.
_AXES = {"kl": "B", "kl_per_dimension": "BD", "log_prob": "B", "sample": "BD"}


class Prior(Layer):
    """A distribution over latents. A subclass may have variables.

    `build` gets the shape of the latents, `(None, D)`.

    Example:
        @registry.prior
        class WidePrior(Prior):
            def build(self, input_shape):
                self.log_variance = self.add_weight(shape=(input_shape[-1],), initializer="zeros")

            def gaussian(self):
                log_variance = tf.convert_to_tensor(self.log_variance)
                return Gaussian(tf.zeros_like(log_variance), log_variance)

            def kl(self, posterior: Gaussian, latents: tf.Tensor) -> tf.Tensor:
                return tf.reduce_sum(self.kl_per_dimension(posterior, latents), axis=1)

            def kl_per_dimension(self, posterior: Gaussian, latents: tf.Tensor) -> tf.Tensor:
                return posterior.kl_per_dimension(self.gaussian())

            def log_prob(self, latents: tf.Tensor) -> tf.Tensor:
                return self.gaussian().log_prob(latents)

            def sample(self, noise: tf.Tensor) -> tf.Tensor:
                return self.gaussian().sample(noise)
    """

    def kl(self, posterior: Gaussian, latents: tf.Tensor) -> tf.Tensor:
        """Returns KL(q(z|x) ‖ p(z)) per example, in nats, exact or estimated.

        Args:
          posterior: q(z|x), a `Gaussian` with `[B, D]`.
          latents: z ~ q(z|x), `[B, D]`.

        Returns:
          `[B]`.
        """
        raise NotImplementedError(f"{type(self).__name__} must implement `kl`")

    def kl_per_dimension(self, posterior: Gaussian, latents: tf.Tensor) -> tf.Tensor:
        """Returns KL(q(z|x) ‖ p(z)) of each latent dimension, in nats, `[B, D]`."""
        raise NotImplementedError(f"{type(self).__name__} must implement `kl_per_dimension`")

    def log_prob(self, latents: tf.Tensor) -> tf.Tensor:
        """Returns log p(z) per example, in nats, `[B]`, for `latents` `[B, D]`."""
        raise NotImplementedError(f"{type(self).__name__} must implement `log_prob`")

    def sample(self, noise: tf.Tensor) -> tf.Tensor:
        """Transforms standard normal `noise` `[n, D]` into samples `[n, D]`."""
        raise NotImplementedError(f"{type(self).__name__} must implement `sample`")


def apply_prior(prior: Prior, method: str, *arguments: Any) -> tf.Tensor:
    """Calls a method of a prior, which may be the user's, and checks what it returns.

    Args:
      prior: the prior.
      method: `"kl"`, `"kl_per_dimension"`, `"log_prob"` or `"sample"`.
      *arguments: of the method.

    Raises:
      ConfigurationError: the user's prior fails, or returns a tensor of another rank.
    """
    with user_code.running(prior, method):
        value = getattr(prior, method)(*arguments)
    if not isinstance(value, tf.Tensor) or value.shape.rank != len(_AXES[method]):
        given = user_code.described(value)
        problem = f"must return a tensor [{', '.join(_AXES[method])}], it returned {given}"
        raise user_code.wrong(prior, method, problem)
    return value


@registry.prior
class StandardNormalPrior(Prior):
    """p(z) = N(0, I) (Kingma & Welling 2014, arXiv:1312.6114, section 3)."""

    def build(self, input_shape: Shape) -> None:
        """Has no variables."""

    def kl(self, posterior: Gaussian, latents: tf.Tensor) -> tf.Tensor:
        """Returns the closed form (arXiv:1312.6114, appendix B), `[B]`."""
        return tf.reduce_sum(self.kl_per_dimension(posterior, latents), axis=1)

    def kl_per_dimension(self, posterior: Gaussian, latents: tf.Tensor) -> tf.Tensor:
        """Returns ½ (mean² + variance − log variance − 1), `[B, D]`."""
        zero = tf.zeros([], posterior.mean.dtype)
        return posterior.kl_per_dimension(Gaussian(zero, zero))

    def log_prob(self, latents: tf.Tensor) -> tf.Tensor:
        """Returns −½ Σ (z² + log 2π) over the latents of each example, `[B]`."""
        zero = tf.zeros([], latents.dtype)
        return Gaussian(zero, zero).log_prob(latents)

    def sample(self, noise: tf.Tensor) -> tf.Tensor:
        return noise
