"""The head that maps features to the parameters of a Gaussian."""

import keras
import tensorflow as tf

from vaeflow import registry, validation
from vaeflow.kernels.joint_dense import joint_dense
from vaeflow.layers.base import Layer, build_chain


@registry.layer
class GaussianHead(Layer):
    """Two linear layers, for the mean and the log variance of q(z|x).

    Kingma & Welling 2014 (arXiv:1312.6114), appendix C.2. Features `[B, F]` become
    a pair (mean `[B, D]`, log variance `[B, D]`).

    Args:
      num_latents: D.
      constant_log_variance: a number that every log variance is, and then there is no
        second layer; None learns them. A model may set it before it builds the block.
    """

    def __init__(self, num_latents, constant_log_variance=None, **kwargs):
        super().__init__(**kwargs)
        validation.positive_integer("GaussianHead.num_latents", num_latents)
        self.constant_log_variance = constant_log_variance
        self.mean = keras.layers.Dense(num_latents)
        self.log_variance = keras.layers.Dense(num_latents)

    def build(self, input_shape):
        build_chain([self.mean], input_shape, self.dtype_policy)
        if self.constant_log_variance is None:
            build_chain([self.log_variance], input_shape, self.dtype_policy)

    def call(self, features):
        if self.constant_log_variance is None:
            return joint_dense(features, self.mean, self.log_variance)
        mean = self.mean(features)
        return mean, tf.fill(tf.shape(mean), tf.constant(self.constant_log_variance, mean.dtype))
