"""The reparameterization trick as a block."""

import tensorflow as tf

from vaeflow import random, registry
from vaeflow.distributions import Gaussian
from vaeflow.layers.base import Layer


@registry.layer
class Sampling(Layer):
    """Draws z ~ N(mean, exp(log variance)), differentiably.

    Kingma & Welling 2014 (arXiv:1312.6114), section 2.4. The noise is that of
    `vaeflow.random`, so it differs between replicas and not with their number.
    """

    def build(self, mean_shape, log_variance_shape=None):
        """Has no variables."""

    def call(self, mean, log_variance):
        """Takes and returns `[B, D]`."""
        noise = random.normal((tf.shape(mean)[0], *mean.shape[1:]), mean.dtype)
        return Gaussian(mean, log_variance).sample(noise)
