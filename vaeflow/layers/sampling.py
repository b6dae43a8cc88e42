"""The reparameterization trick as a layer."""

import tensorflow as tf

from vaeflow import random, registry
from vaeflow.distributions import Gaussian
from vaeflow.layers.base import Layer, Shape


@registry.layer
class Sampling(Layer):
    """Draws z ~ N(mean, exp(log variance)), differentiably.

    Kingma & Welling 2014 (arXiv:1312.6114), section 2.4. The noise comes from
    `vaeflow.random`: replicas draw different noise, and each example's noise does not
    depend on the number of replicas.
    """

    # Keras passes each argument's shape by the name that `call` gives it.
    def build(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, mean_shape: Shape, log_variance_shape: Shape | None = None
    ) -> None:
        """Has no variables."""

    def call(self, mean: tf.Tensor, log_variance: tf.Tensor) -> tf.Tensor:
        """Returns z `[B, D]`, of the dtype of `mean`, from two tensors `[B, D]`."""
        noise = random.normal((tf.shape(mean)[0], *mean.shape[1:]), mean.dtype)
        return Gaussian(mean, log_variance).sample(noise)
