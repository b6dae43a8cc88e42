"""Latents on a sphere: a von Mises-Fisher posterior, and the uniform prior."""

from typing import Any

import keras
import tensorflow as tf

from vaeflow import registry
from vaeflow.distributions import UniformOnSphere, VonMisesFisher
from vaeflow.errors import ConfigurationError
from vaeflow.layers.base import Shape, build_chain
from vaeflow.layers.posteriors import DeterministicPosterior, Posterior
from vaeflow.layers.priors import Prior

# Of a vector that is divided by its length.
_SMALLEST_SQUARE = 1e-12


@registry.posterior
class VonMisesFisherPosterior(Posterior):
    """A von Mises-Fisher distribution on the unit sphere in D dimensions, for a hyperspherical VAE.

    Davidson et al. 2018 (arXiv:1804.00891, section 3): a linear layer gives a vector, whose direction is
    the mean's, and another the concentration κ = softplus(·) + 1. The prior must be
    `UniformSpherePrior`, with which the KL has a closed form.

    Args:
      num_latents: D, at least 2: the sphere has D − 1 dimensions. None lets the model say it.
    """

    def __init__(self, num_latents: int | None = None, **kwargs: Any):
        super().__init__(num_latents, **kwargs)
        self.direction = keras.layers.Dense(num_latents or 1)
        self.concentration = keras.layers.Dense(1)

    def build(self, input_shape: Shape) -> None:
        self.direction.units = self.checked_num_latents()
        _check_size(type(self).__name__, self.checked_num_latents())
        for layer in (self.direction, self.concentration):
            build_chain([layer], input_shape, self.dtype_policy)

    def call(self, features: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return self.direction(features), self.concentration(features)

    def distribution(self, evidence: tuple[tf.Tensor, tf.Tensor]) -> VonMisesFisher:
        vector, concentration = evidence
        direction = tf.math.l2_normalize(vector, axis=1, epsilon=_SMALLEST_SQUARE)
        return VonMisesFisher(direction, tf.nn.softplus(concentration) + 1.0)


@registry.prior
class UniformSpherePrior(Prior):
    """p(z) uniform on the unit sphere in D dimensions (Davidson et al. 2018, arXiv:1804.00891, section 3)."""

    def build(self, input_shape: Shape) -> None:
        """Has no variables."""
        self.num_latents: Any = input_shape[-1]
        _check_size(type(self).__name__, self.num_latents)

    def distribution(self, model: Any) -> UniformOnSphere:
        posterior = getattr(model, "posterior", None)
        if not isinstance(posterior, (VonMisesFisherPosterior, DeterministicPosterior)):
            raise ConfigurationError(
                f"UniformSpherePrior is one over points of a sphere, and the latents of "
                f"{type(posterior).__name__} lie anywhere; set the model's `posterior` to "
                "@VonMisesFisherPosterior()"
            )
        return UniformOnSphere(self.num_latents, model.variable_dtype)


def _check_size(name: str, size: int) -> None:
    if size < 2:
        raise ConfigurationError(
            f"{name} needs 2 latents or more, since a sphere in {size} dimension is two points; raise "
            "the model's `num_latents`"
        )
