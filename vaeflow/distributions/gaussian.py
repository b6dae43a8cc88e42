"""The Gaussian with a diagonal covariance."""

import dataclasses
import math
from typing import Any

import tensorflow as tf

from vaeflow import random
from vaeflow.distributions.base import Distribution, full_precision, sum_per_example


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

    @property
    def center(self) -> tf.Tensor:
        """The mean."""
        return self.mean

    @property
    def parameters(self) -> dict[str, tf.Tensor]:
        """`mean` and `log_variance`, of one shape."""
        log_variance = self.log_variance
        if log_variance.shape != self.mean.shape:
            log_variance = tf.broadcast_to(log_variance, tf.shape(self.mean))
        return {"mean": self.mean, "log_variance": log_variance}

    def draw(self, num_rows: Any = None, shared: bool = False) -> tuple[tf.Tensor, tf.Tensor]:
        """Draws by the reparameterization trick (arXiv:1312.6114, section 2.4); see `Distribution.draw`.

        With `num_rows`, the mean has the shape of one value, not of rows of them.
        """
        shape = self.mean.shape[1:] if num_rows is None else self.mean.shape
        rows = tf.shape(self.mean)[0] if num_rows is None else num_rows
        value = self.sample(random.normal((rows, *shape), self.mean.dtype, shared))
        return value, self.log_prob(value)

    def tempered(self, temperature: float) -> "Gaussian":
        """Multiplies the standard deviation; see `Distribution.tempered`."""
        log_variance = full_precision(self.log_variance)
        log_variance += 2.0 * tf.math.log(tf.constant(temperature, log_variance.dtype))
        return dataclasses.replace(self, log_variance=log_variance)

    def product(self, other: "Gaussian") -> "Gaussian":
        """Returns the Gaussian whose density is proportional to the product of both densities.

        Its precision 1 / σ² is the sum of theirs, and its mean the average of their means, weighted by
        their precisions. Computed from the ratio of the variances, so that none overflows.
        """
        log_variance = full_precision(self.log_variance)
        ratio = log_variance - tf.cast(full_precision(other.log_variance), log_variance.dtype)
        mean, other_mean = (tf.cast(each.mean, log_variance.dtype) for each in (self, other))
        return Gaussian(mean + tf.sigmoid(ratio) * (other_mean - mean), log_variance - tf.nn.softplus(ratio))

    def sample(self, noise: tf.Tensor) -> tf.Tensor:
        """Transforms standard normal `noise` of the shape of `mean` into a sample of its dtype."""
        mean, log_variance = full_precision(self.mean), full_precision(self.log_variance)
        sample = mean + tf.exp(0.5 * log_variance) * tf.cast(noise, mean.dtype)
        return tf.cast(sample, self.mean.dtype)

    def log_prob_per_dimension(self, value: tf.Tensor) -> tf.Tensor:
        """Returns log p(value) of each element, `[B, …]`."""
        mean, log_variance = full_precision(self.mean), full_precision(self.log_variance)
        squared = tf.square(tf.cast(value, mean.dtype) - mean) * tf.exp(-log_variance)
        if not self.normalized:
            return -0.5 * squared
        return -0.5 * (squared + log_variance + math.log(2.0 * math.pi))

    def log_prob(self, value: tf.Tensor) -> tf.Tensor:
        """Returns log p(value) per example, `[B]`."""
        return sum_per_example(self.log_prob_per_dimension(value))

    def kl_per_dimension(self, other: "Gaussian") -> tf.Tensor:
        """Returns KL(self ‖ other) of each element, `[B, …]`."""
        mean, log_variance = full_precision(self.mean), full_precision(self.log_variance)
        other_mean = tf.cast(other.mean, mean.dtype)
        other_log_variance = tf.cast(other.log_variance, mean.dtype)
        squared = tf.square(mean - other_mean) * tf.exp(-other_log_variance)
        ratio = log_variance - other_log_variance
        return 0.5 * (squared + tf.exp(ratio) - ratio - 1.0)

    def kl(self, other: Distribution) -> tf.Tensor:
        """Returns KL(self ‖ other) of each element, `[B, U]`; `NotImplemented` if that is no `Gaussian`."""
        if not isinstance(other, Gaussian):
            return NotImplemented
        kl = self.kl_per_dimension(other)
        return kl if kl.shape.rank == 2 else tf.reshape(kl, (tf.shape(kl)[0], -1))
