"""Independent continuous Bernoulli variables: the cross-entropy of grey pixels, made a density."""

import dataclasses
from typing import Any

import tensorflow as tf

from vaeflow.distributions.base import full_precision, sum_per_example

# log(sinh(u) / u) = Σ c_n u^(2n), n = 1 …: below u = 1/4 the first six leave an error below 1e-16.
_COEFFICIENTS = (1 / 6, -1 / 180, 1 / 2835, -1 / 37800, 1 / 467775, -691 / 3831077250)
_FEWEST = 0.5  # The logit from which on the closed form is as precise.


@dataclasses.dataclass(frozen=True)
class ContinuousBernoulli:
    """Independent variables in [0, 1] whose density is C(λ) λ^x (1 − λ)^(1 − x).

    Loaiza-Ganem & Cunningham 2019 (arXiv:1907.06845, section 3): C(λ) is 2 tanh⁻¹(1 − 2λ) / (1 − 2λ), and
    2 at λ = ½. With the logit l = log λ / (1 − λ) the density is exp(l (x − ½)) · (l/2) / sinh(l/2). Near
    λ = ½ that quotient, its gradient and the mean come from the Taylor series, since both sides of the
    quotient vanish there; the authors' code has two terms of it.

    Args:
      logits: l, `[B, …]`. The mean is not λ, unless it is ½.
    """

    logits: tf.Tensor

    @property
    def mean(self) -> tf.Tensor:
        """The mean, λ / (2λ − 1) + 1 / (2 tanh⁻¹(1 − 2λ)), `[B, …]`."""
        logits: Any = full_precision(self.logits)
        near, far = _near_and_far(logits)
        u = near / 2
        series = sum(n * c * u ** (2 * n - 1) for n, c in enumerate(_COEFFICIENTS, 1))
        closed = 0.5 / tf.tanh(far / 2) - 1 / far
        return 0.5 + tf.where(tf.abs(logits) < _FEWEST, series, closed)

    def log_prob_per_dimension(self, value: tf.Tensor) -> tf.Tensor:
        """Returns the log density at each element, `[B, …]`."""
        logits: Any = full_precision(self.logits)
        return logits * (tf.cast(value, logits.dtype) - 0.5) - _log_sinh_quotient(logits)

    def log_prob(self, value: tf.Tensor) -> tf.Tensor:
        """Returns log p(value) per example, `[B]`."""
        return sum_per_example(self.log_prob_per_dimension(value))


def _log_sinh_quotient(logits: Any) -> Any:
    """Returns log(sinh(l/2) / (l/2))."""
    near, far = _near_and_far(logits)
    squared = tf.square(near / 2)
    series = sum(c * squared**n for n, c in enumerate(_COEFFICIENTS, 1))
    size = tf.abs(far)
    closed = size / 2 + tf.math.log(-tf.math.expm1(-size) / size)
    return tf.where(tf.abs(logits) < _FEWEST, series, closed)


def _near_and_far(logits: Any) -> tuple[Any, Any]:
    """Returns logits for the series and for the closed form: each its own, or a harmless number.

    `tf.where` computes both sides and their gradients, and what is not finite times 0 is not a number.
    """
    is_near = tf.abs(logits) < _FEWEST
    return tf.where(is_near, logits, tf.zeros_like(logits)), tf.where(is_near, tf.ones_like(logits), logits)
