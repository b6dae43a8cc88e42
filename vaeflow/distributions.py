"""Probability distributions as plain values without variables.

Log densities and divergences are in nats. They are computed in float32, or in float64 for
parameters in float64; half-precision parameters are cast first.
"""

import dataclasses
import math
from typing import Protocol

import tensorflow as tf

from vaeflow.kernels.bernoulli import bernoulli_log_prob


class Distribution(Protocol):
    """A distribution over tensors `[B, …]`, as a likelihood returns it."""

    @property
    def mean(self) -> tf.Tensor:
        """The mean, `[B, …]`."""
        ...

    def sample(self, noise: tf.Tensor) -> tf.Tensor:
        """Transforms noise of the shape of `mean` into a sample."""
        ...

    def log_prob(self, value: tf.Tensor) -> tf.Tensor:
        """Returns log p(value) per example, in nats, `[B]`."""
        ...


def _full_precision(value):
    value = tf.convert_to_tensor(value)
    return tf.cast(value, tf.float32) if value.dtype in (tf.bfloat16, tf.float16) else value


def _sum_per_example(values: tf.Tensor) -> tf.Tensor:
    """Sums `[B, …]` over all axes but the first: `[B]`."""
    return tf.reduce_sum(values, axis=list(range(1, values.shape.rank)))


@dataclasses.dataclass(frozen=True)
class Gaussian:
    """A Gaussian with a diagonal covariance.

    Args:
      mean: `[B, …]`.
      log_variance: the logarithm of each variance, broadcastable to `mean`.
      normalized: False drops the constant −½ log 2π − ½ log σ² of each element from
        `log_prob`, as some published code does for a fixed σ.
    """

    mean: tf.Tensor
    log_variance: tf.Tensor
    normalized: bool = True

    def sample(self, noise: tf.Tensor) -> tf.Tensor:
        """Transforms standard normal `noise` of the shape of `mean` into a sample of its dtype."""
        mean, log_variance = _full_precision(self.mean), _full_precision(self.log_variance)
        sample = mean + tf.exp(0.5 * log_variance) * tf.cast(noise, mean.dtype)
        return tf.cast(sample, self.mean.dtype)

    def log_prob_per_dimension(self, value: tf.Tensor) -> tf.Tensor:
        """Returns log p(value) of each element, `[B, …]`."""
        mean, log_variance = _full_precision(self.mean), _full_precision(self.log_variance)
        squared = tf.square(tf.cast(value, mean.dtype) - mean) * tf.exp(-log_variance)
        if not self.normalized:
            return -0.5 * squared
        return -0.5 * (squared + log_variance + math.log(2.0 * math.pi))

    def log_prob(self, value: tf.Tensor) -> tf.Tensor:
        """Returns log p(value) per example, `[B]`."""
        return _sum_per_example(self.log_prob_per_dimension(value))

    def kl_per_dimension(self, other: "Gaussian") -> tf.Tensor:
        """Returns KL(self ‖ other) of each element, `[B, …]`."""
        mean, log_variance = _full_precision(self.mean), _full_precision(self.log_variance)
        other_mean = tf.cast(other.mean, mean.dtype)
        other_log_variance = tf.cast(other.log_variance, mean.dtype)
        squared = tf.square(mean - other_mean) * tf.exp(-other_log_variance)
        ratio = log_variance - other_log_variance
        return 0.5 * (squared + tf.exp(ratio) - ratio - 1.0)

    def kl(self, other: "Gaussian") -> tf.Tensor:
        """Returns KL(self ‖ other) per example, `[B]`."""
        return _sum_per_example(self.kl_per_dimension(other))


@dataclasses.dataclass(frozen=True)
class Bernoulli:
    """Independent Bernoulli variables.

    Values between 0 and 1 are scored by the cross-entropy, the usual reconstruction loss
    on grey pixels. It is not a density over them.

    Args:
      logits: the log odds of a 1, `[B, …]`.
    """

    logits: tf.Tensor

    @property
    def mean(self) -> tf.Tensor:
        """The probability of a 1, `[B, …]`."""
        return tf.sigmoid(self.logits)

    def sample(self, noise: tf.Tensor) -> tf.Tensor:
        """Transforms uniform `noise` in (0, 1], `[B, …]`, into zeros and ones of the dtype of `logits`."""
        return tf.cast(noise <= tf.cast(self.mean, noise.dtype), self.logits.dtype)

    def log_prob_per_dimension(self, value: tf.Tensor) -> tf.Tensor:
        """Returns log p(value) of each element, `[B, …]`."""
        logits = _full_precision(self.logits)
        return -tf.nn.sigmoid_cross_entropy_with_logits(labels=tf.cast(value, logits.dtype), logits=logits)

    def log_prob(self, value: tf.Tensor) -> tf.Tensor:
        """Returns log p(value) per example, `[B]`."""
        logits = _full_precision(self.logits)
        return bernoulli_log_prob(tf.cast(value, logits.dtype), logits)
