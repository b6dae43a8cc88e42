"""The distribution of one code: which of K it is."""

import dataclasses
from typing import Any

import tensorflow as tf

from vaeflow.distributions.base import full_precision


@dataclasses.dataclass(frozen=True)
class Categorical:
    """A distribution over the integers 0 … K − 1.

    Args:
      logits: unnormalized log probabilities, `[…, K]`; −∞ for a code that cannot be.
    """

    logits: tf.Tensor

    @property
    def num_codes(self) -> int:
        """K."""
        return int(self.logits.shape[-1])  # pyright: ignore[reportArgumentType]

    @property
    def probabilities(self) -> tf.Tensor:
        """p of each code, `[…, K]`, float64."""
        return tf.nn.softmax(tf.cast(self.logits, tf.float64))

    def log_prob(self, codes: tf.Tensor) -> tf.Tensor:
        """Returns log p(code), in nats, `[…]`, for codes int `[…]` of which each has finite logits."""
        log_probs = tf.nn.log_softmax(full_precision(self.logits))
        # A product with zeros and ones has a gradient that adds in a fixed order also on a GPU.
        return tf.reduce_sum(log_probs * tf.one_hot(codes, self.num_codes, dtype=log_probs.dtype), axis=-1)

    def tempered(self, temperature: float) -> "Categorical":
        """Returns p(code)^(1 / temperature), normalized: below 1 it prefers what is likely anyway."""
        logits = full_precision(self.logits)
        return Categorical(logits / tf.constant(temperature, logits.dtype))

    def truncated(self, top_k: int | None = None, top_p: float | None = None) -> "Categorical":
        """Keeps the likeliest codes, in the proportions that they have; of equals, the first.

        Args:
          top_k: how many are kept at most (Fan et al. 2018, arXiv:1805.04833, section 5.4).
          top_p: as many are kept as have this probability together, at least one (the nucleus of
            Holtzman et al. 2020, arXiv:1904.09751, section 3.1); of what `top_k` leaves.
        """
        if top_k is None and top_p is None:
            return self
        axes = self.logits.shape.rank - 1
        order = tf.argsort(-full_precision(self.logits), axis=-1, stable=True)
        ranks = tf.argsort(order, axis=-1)
        kept = self
        if top_k is not None:
            kept = _only(self, ranks < top_k)
        if top_p is not None:
            descending = tf.gather(kept.probabilities, order, batch_dims=axes)
            of_likelier = tf.gather(tf.cumsum(descending, axis=-1, exclusive=True), ranks, batch_dims=axes)
            kept = _only(kept, of_likelier < tf.constant(top_p, tf.float64))
        return kept

    def at(self, uniform: Any) -> tf.Tensor:
        """Returns the code at which the cumulative probability reaches a number: the inverse of it.

        Args:
          uniform: float64 `[…]`, in (0, 1]; uniform noise gives draws.

        Returns:
          int32 `[…]`.
        """
        cumulative: Any = tf.cumsum(self.probabilities, axis=-1)
        # The last that has any probability ends at 1 exactly, so that no rounding leads past it.
        cumulative /= cumulative[..., -1:]
        return tf.reduce_sum(tf.cast(uniform[..., None] > cumulative[..., :-1], tf.int32), axis=-1)


def _only(distribution: Categorical, kept: Any) -> Categorical:
    """Makes the codes impossible where `kept`, bool `[…, K]`, is False."""
    logits = full_precision(distribution.logits)
    return Categorical(tf.where(kept, logits, tf.constant(float("-inf"), logits.dtype)))
