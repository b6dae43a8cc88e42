"""Independent negative binomial variables: counts whose variance exceeds their mean."""

import dataclasses
from typing import Any

import tensorflow as tf

from vaeflow.distributions.base import full_precision, sum_per_example
from vaeflow.distributions.levels import level_numbers

# log Γ(r) = (r − ½) log r − r + ½ log 2π + Σ c_n r^(1 − 2n), n = 1 …: from r = 30 on the first four leave an
# error below 1e-15.
_COEFFICIENTS = (1 / 12, -1 / 360, 1 / 1260, -1 / 1680)
_LARGE = 30.0


@dataclasses.dataclass(frozen=True)
class NegativeBinomial:
    """Independent counts of mean μ and variance μ + μ² / θ.

    The probability is Γ(n + θ) / (n! Γ(θ)) · (θ / (θ + μ))^θ · (μ / (θ + μ))^n (Lopez et al. 2018,
    arXiv:1709.02082, with their θ, the inverse dispersion). For θ → ∞ it is the Poisson's. As there, a
    pixel x in 0 … 1 stands for the count n = x · `max_count`, and the density is computed in float64.

    Args:
      log_mean: log μ, `[B, …]`.
      log_inverse_dispersion: log θ, broadcastable to `log_mean`.
      max_count: the count of a pixel of 1; the distribution knows no such bound.
    """

    log_mean: tf.Tensor
    log_inverse_dispersion: tf.Tensor
    max_count: int = 255

    @property
    def mean(self) -> tf.Tensor:
        """μ, in units of the pixels, `[B, …]`."""
        return tf.exp(full_precision(self.log_mean)) / self.max_count

    def log_prob_per_dimension(self, value: tf.Tensor) -> tf.Tensor:
        """Returns log p of each count, `[B, …]`, in float64."""
        log_mean: Any = tf.cast(self.log_mean, tf.float64)
        log_theta: Any = tf.cast(self.log_inverse_dispersion, tf.float64)
        counts: Any = tf.cast(level_numbers(value, self.max_count + 1), tf.float64)
        theta: Any = tf.exp(log_theta)
        log_excess = tf.nn.softplus(log_mean - log_theta)  # log((θ + μ) / θ)
        log_prob = counts * log_mean - (counts + theta) * log_excess
        return log_prob + _log_gamma_ratio(counts, theta) - tf.math.lgamma(counts + 1)

    def log_prob(self, value: tf.Tensor) -> tf.Tensor:
        """Returns log p(value) per example, `[B]`."""
        log_prob = sum_per_example(self.log_prob_per_dimension(value))
        return tf.cast(log_prob, full_precision(self.log_mean).dtype)


def _log_gamma_ratio(counts: Any, theta: Any) -> Any:
    """Returns log Γ(n + θ) − log Γ(θ) − n log θ, which tends to 0 for large θ.

    These have Stirling's series, since the difference of two large numbers would be lost in rounding.
    """
    small, large = tf.minimum(theta, _LARGE), tf.maximum(theta, _LARGE)
    direct = tf.math.lgamma(counts + small) - tf.math.lgamma(small) - counts * tf.math.log(small)
    series = (counts + large - 0.5) * tf.math.log1p(counts / large) - counts
    series += _stirling_rest(counts + large) - _stirling_rest(large)
    return tf.where(theta < _LARGE, direct, series)


def _stirling_rest(x: Any) -> Any:
    inverse = 1 / x
    return sum(c * inverse ** (2 * n - 1) for n, c in enumerate(_COEFFICIENTS, 1))
