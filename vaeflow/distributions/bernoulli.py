"""Independent Bernoulli variables."""

import dataclasses

import tensorflow as tf

from vaeflow.distributions.base import full_precision
from vaeflow.kernels.bernoulli import bernoulli_log_prob


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
        logits = full_precision(self.logits)
        return -tf.nn.sigmoid_cross_entropy_with_logits(labels=tf.cast(value, logits.dtype), logits=logits)

    def log_prob(self, value: tf.Tensor) -> tf.Tensor:
        """Returns log p(value) per example, `[B]`."""
        logits = full_precision(self.logits)
        return bernoulli_log_prob(tf.cast(value, logits.dtype), logits)
