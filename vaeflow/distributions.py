"""Probability distributions as plain values: parameters in, densities out; no variables.

Log densities and divergences are in nats, and are computed in float32 at least,
whatever the precision of the parameters.
"""

import dataclasses
import math

import tensorflow as tf

from vaeflow.kernels.bernoulli import bernoulli_log_prob


def _full_precision(value):
    value = tf.convert_to_tensor(value)
    return tf.cast(value, tf.float32) if value.dtype in (tf.bfloat16, tf.float16) else value


def _sum_per_example(values):
    """Sums `[B, …]` over everything but the examples: `[B]`."""
    return tf.reduce_sum(values, axis=list(range(1, values.shape.rank)))


@dataclasses.dataclass(frozen=True)
class Gaussian:
    """A Gaussian with a diagonal covariance.

    Args:
      mean: `[B, …]`.
      log_variance: broadcastable to `mean`, the logarithm of each variance.
      normalized: False drops the constant −½ log 2π − ½ log σ² of each element
        from `log_prob`, as some published code does when σ is fixed.
    """

    mean: tf.Tensor
    log_variance: tf.Tensor
    normalized: bool = True

    def sample(self, noise):
        """Transforms standard normal `noise` of the shape of `mean` into a sample of its dtype."""
        mean, log_variance = _full_precision(self.mean), _full_precision(self.log_variance)
        sample = mean + tf.exp(0.5 * log_variance) * tf.cast(noise, mean.dtype)
        return tf.cast(sample, self.mean.dtype)

    def log_prob_per_dimension(self, value):
        """Returns log p(value) of each element, `[B, …]`."""
        mean, log_variance = _full_precision(self.mean), _full_precision(self.log_variance)
        squared = tf.square(tf.cast(value, mean.dtype) - mean) * tf.exp(-log_variance)
        if not self.normalized:
            return -0.5 * squared
        return -0.5 * (squared + log_variance + math.log(2.0 * math.pi))

    def log_prob(self, value):
        """Returns log p(value) per example, `[B]`."""
        return _sum_per_example(self.log_prob_per_dimension(value))

    def kl_per_dimension(self, other):
        """Returns KL(self ‖ other) of each element, `[B, …]`; `other` is a `Gaussian`."""
        mean, log_variance = _full_precision(self.mean), _full_precision(self.log_variance)
        other_mean = tf.cast(other.mean, mean.dtype)
        other_log_variance = tf.cast(other.log_variance, mean.dtype)
        squared = tf.square(mean - other_mean) * tf.exp(-other_log_variance)
        ratio = log_variance - other_log_variance
        return 0.5 * (squared + tf.exp(ratio) - ratio - 1.0)

    def kl(self, other):
        """Returns KL(self ‖ other) per example, `[B]`."""
        return _sum_per_example(self.kl_per_dimension(other))


@dataclasses.dataclass(frozen=True)
class Bernoulli:
    """Independent Bernoulli variables.

    A value between 0 and 1 is scored by the cross-entropy, which is the usual
    reconstruction loss on grey pixels though not a density over them.

    Args:
      logits: `[B, …]`, the log odds of a 1.
    """

    logits: tf.Tensor

    @property
    def mean(self):
        """The probability of a 1, `[B, …]`."""
        return tf.sigmoid(self.logits)

    def sample(self, noise):
        """Transforms uniform `noise` in (0, 1] into zeros and ones, `[B, …]`."""
        return tf.cast(noise <= tf.cast(self.mean, noise.dtype), self.logits.dtype)

    def log_prob_per_dimension(self, value):
        """Returns log p(value) of each element, `[B, …]`."""
        logits = _full_precision(self.logits)
        return -tf.nn.sigmoid_cross_entropy_with_logits(labels=tf.cast(value, logits.dtype), logits=logits)

    def log_prob(self, value):
        """Returns log p(value) per example, `[B]`."""
        logits = _full_precision(self.logits)
        return bernoulli_log_prob(tf.cast(value, logits.dtype), logits)
