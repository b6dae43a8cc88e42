"""The head that maps features to the parameters of a Gaussian."""

from typing import Any

import keras
import tensorflow as tf

from vaeflow import registry, validation
from vaeflow.kernels.joint_dense import joint_dense
from vaeflow.layers.base import Layer, Shape, build_chain


@registry.layer
class GaussianHead(Layer):
    """Two linear layers, for the mean and the log variance of q(z|x).

    Kingma & Welling 2014 (arXiv:1312.6114), appendix C.2. Features `[B, F]` become
    a pair (mean `[B, D]`, log variance `[B, D]`).

    Args:
      num_latents: D.
      constant_log_variance: the value of every log variance, which replaces the second
        layer; None learns the log variances. A model may set it before it builds the head.

    Raises:
      ValueError: a setting is out of range.
    """

    def __init__(self, num_latents: int, constant_log_variance: float | None = None, **kwargs: Any):
        super().__init__(**kwargs)
        validation.positive_integer("GaussianHead.num_latents", num_latents)
        if constant_log_variance is not None:
            validation.finite_number("GaussianHead.constant_log_variance", constant_log_variance)
        self.constant_log_variance = constant_log_variance
        self.mean = keras.layers.Dense(num_latents)
        self.log_variance = keras.layers.Dense(num_latents)

    def build(self, input_shape: Shape) -> None:
        build_chain([self.mean], input_shape, self.dtype_policy)
        if self.constant_log_variance is None:
            build_chain([self.log_variance], input_shape, self.dtype_policy)

    def call(self, features: tf.Tensor) -> tuple[tf.Tensor, ...]:
        if self.constant_log_variance is None:
            return joint_dense(features, self.mean, self.log_variance)
        mean = self.mean(features)
        return mean, tf.fill(tf.shape(mean), tf.constant(self.constant_log_variance, mean.dtype))
