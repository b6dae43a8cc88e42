"""The Laplace distribution with independent elements."""

import dataclasses
import math

import tensorflow as tf

from vaeflow.distributions.base import full_precision, sum_per_example


@dataclasses.dataclass(frozen=True)
class Laplace:
    """Independent Laplace variables: the density of an element is exp(−|x − μ| / b) / 2b.

    Args:
      mean: μ, `[B, …]`.
      log_scale: log b, broadcastable to `mean`.
      normalized: False drops the constant −log 2b of each element from `log_prob`.
    """

    mean: tf.Tensor
    log_scale: tf.Tensor
    normalized: bool = True

    def log_prob_per_dimension(self, value: tf.Tensor) -> tf.Tensor:
        """Returns log p(value) of each element, `[B, …]`."""
        mean, log_scale = full_precision(self.mean), full_precision(self.log_scale)
        distance = tf.abs(tf.cast(value, mean.dtype) - mean) * tf.exp(-log_scale)
        return -distance if not self.normalized else -(distance + log_scale + math.log(2.0))

    def log_prob(self, value: tf.Tensor) -> tf.Tensor:
        """Returns log p(value) per example, `[B]`."""
        return sum_per_example(self.log_prob_per_dimension(value))
