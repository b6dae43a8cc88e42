"""Independent Poisson variables: counts whose variance is their mean."""

import dataclasses
from typing import Any

import tensorflow as tf

from vaeflow.distributions.base import full_precision, sum_per_example
from vaeflow.distributions.levels import level_numbers


@dataclasses.dataclass(frozen=True)
class Poisson:
    """Independent counts with the probability λ^n exp(−λ) / n!.

    A pixel x in 0 … 1 stands for the count n = x · `max_count`. The density is computed in float64: its
    terms are in the thousands where n is 255, and their sum is a few nats.

    Args:
      log_rate: log λ, `[B, …]`.
      max_count: the count of a pixel of 1; λ and the distribution know no such bound.
    """

    log_rate: tf.Tensor
    max_count: int = 255

    @property
    def mean(self) -> tf.Tensor:
        """λ, in units of the pixels, `[B, …]`."""
        return tf.exp(full_precision(self.log_rate)) / self.max_count

    def log_prob_per_dimension(self, value: tf.Tensor) -> tf.Tensor:
        """Returns log p of each count, `[B, …]`, in float64."""
        log_rate: Any = tf.cast(self.log_rate, tf.float64)
        counts: Any = tf.cast(level_numbers(value, self.max_count + 1), tf.float64)
        return counts * log_rate - tf.exp(log_rate) - tf.math.lgamma(counts + 1)

    def log_prob(self, value: tf.Tensor) -> tf.Tensor:
        """Returns log p(value) per example, `[B]`."""
        log_prob = sum_per_example(self.log_prob_per_dimension(value))
        return tf.cast(log_prob, full_precision(self.log_rate).dtype)
