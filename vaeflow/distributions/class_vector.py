"""One of K classes, as a vector with a 1 at its place."""

import dataclasses
from typing import Any

import tensorflow as tf

from vaeflow import random
from vaeflow.distributions.base import Distribution, full_precision
from vaeflow.distributions.categorical import Categorical


@dataclasses.dataclass(frozen=True)
class ClassVector:
    """One of K classes of each row, as a vector with a 1 at its place. Draws have no gradient.

    Args:
      logits: unnormalized log probabilities, `[r, K]`.
    """

    logits: tf.Tensor

    @property
    def center(self) -> tf.Tensor:
        """The likeliest class, `[r, K]`."""
        return self._vectors(tf.argmax(self.logits, axis=1))

    @property
    def parameters(self) -> dict[str, tf.Tensor]:
        """`logits`."""
        return {"logits": self.logits}

    def draw(self, num_rows: Any = None, shared: bool = False) -> tuple[tf.Tensor, tf.Tensor]:
        """Draws classes; see `Distribution.draw`.

        Raises:
          ValueError: `num_rows` is given; the rows are those of the logits.
        """
        if num_rows is not None:
            raise ValueError("a ClassVector has rows of its own; leave `num_rows` out")
        # The same classes in every precision.
        uniform = random.uniform((tf.shape(self.logits)[0], 1), "float64", shared)[:, 0]
        value = self._vectors(Categorical(self.logits).at(uniform))
        return value, self.log_prob(value)

    def log_prob(self, value: tf.Tensor) -> tf.Tensor:
        """Returns log p(value) per example, `[r]`."""
        return tf.reduce_sum(tf.cast(value, self.log_probabilities.dtype) * self.log_probabilities, axis=1)

    def kl(self, other: Distribution) -> tf.Tensor:
        """Returns KL(self ‖ other), `[r, 1]`; `NotImplemented` if that is no `ClassVector`."""
        if not isinstance(other, ClassVector):
            return NotImplemented
        log_p: Any = self.log_probabilities
        difference = log_p - tf.cast(other.log_probabilities, log_p.dtype)
        return tf.reduce_sum(tf.exp(log_p) * difference, axis=1, keepdims=True)

    @property
    def log_probabilities(self) -> tf.Tensor:
        """log p of each class, `[r, K]`."""
        return tf.nn.log_softmax(full_precision(self.logits))

    def _vectors(self, classes):
        return tf.one_hot(classes, self.logits.shape[1], dtype=self.logits.dtype)
