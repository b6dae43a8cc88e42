"""Pixels that take one of L levels k / (L − 1), as bytes do with L = 256."""

import dataclasses
from typing import Any

import tensorflow as tf

from vaeflow.distributions.base import full_precision, sum_per_example
from vaeflow.distributions.categorical import Categorical


def level_numbers(value: Any, num_levels: int) -> tf.Tensor:
    """Returns k of the level nearest to each pixel in 0 … 1, as floats."""
    return tf.round(full_precision(value) * (num_levels - 1))


@dataclasses.dataclass(frozen=True)
class CategoricalLevels:
    """Independent pixels with a probability for each of L levels.

    van den Oord et al. 2016 (arXiv:1601.06759, section 2.2).

    Args:
      logits: unnormalized log probabilities, `[B, …, L]`.
    """

    logits: tf.Tensor

    @property
    def mean(self) -> tf.Tensor:
        """The mean, `[B, …]`, in 0 … 1."""
        logits: Any = full_precision(self.logits)
        levels = tf.range(logits.shape[-1], dtype=logits.dtype) / (logits.shape[-1] - 1)
        return tf.reduce_sum(tf.nn.softmax(logits) * levels, axis=-1)

    def log_prob_per_dimension(self, value: tf.Tensor) -> tf.Tensor:
        """Returns log p of each pixel's level, `[B, …]`."""
        categorical = Categorical(self.logits)
        return categorical.log_prob(tf.cast(level_numbers(value, categorical.num_codes), tf.int32))

    def log_prob(self, value: tf.Tensor) -> tf.Tensor:
        """Returns log p(value) per example, `[B]`."""
        return sum_per_example(self.log_prob_per_dimension(value))
