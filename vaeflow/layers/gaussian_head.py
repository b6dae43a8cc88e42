"""The head that maps features to the parameters of a Gaussian."""

import keras

from vaeflow import registry, validation
from vaeflow.layers.base import Layer, build_chain


@registry.layer
class GaussianHead(Layer):
    """Two linear layers, for the mean and the log variance of q(z|x).

    Kingma & Welling 2014 (arXiv:1312.6114), appendix C.2. Features `[B, F]` become
    a pair (mean `[B, D]`, log variance `[B, D]`).

    Args:
      num_latents: D.
    """

    def __init__(self, num_latents, **kwargs):
        super().__init__(**kwargs)
        validation.positive_integer("GaussianHead.num_latents", num_latents)
        self.mean = keras.layers.Dense(num_latents)
        self.log_variance = keras.layers.Dense(num_latents)

    def build(self, input_shape):
        build_chain([self.mean], input_shape, self.dtype_policy)
        build_chain([self.log_variance], input_shape, self.dtype_policy)

    def call(self, features):
        return self.mean(features), self.log_variance(features)
