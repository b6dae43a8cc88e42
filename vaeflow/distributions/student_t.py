"""Student's t distribution with independent elements."""

import dataclasses
import math
from typing import Any

import tensorflow as tf

from vaeflow.distributions.base import full_precision, sum_per_example

# log Γ(a + ½) − log Γ(a) = ½ log a + Σ c_n a^(1 − 2n), n = 1 …: from a = 25 on the first four leave an
# error below 1e-15.
_COEFFICIENTS = (-1 / 8, 1 / 192, -1 / 640, 17 / 14336)
_LARGE = 25.0


@dataclasses.dataclass(frozen=True)
class StudentT:
    """Independent Student's t variables with ν degrees of freedom around μ, in units of s.

    The density of an element is Γ((ν + 1) / 2) / (Γ(ν / 2) √(πν) s) · (1 + t² / ν)^(−(ν + 1) / 2), where t
    is (x − μ) / s.

    Args:
      location: μ, `[B, …]`.
      log_scale: log s, broadcastable to `location`.
      log_degrees_of_freedom: log ν, broadcastable to `location`.
    """

    location: tf.Tensor
    log_scale: tf.Tensor
    log_degrees_of_freedom: tf.Tensor

    @property
    def mean(self) -> tf.Tensor:
        """μ: the mode and the median, and for ν > 1, where there is one, the mean."""
        return self.location

    def log_prob_per_dimension(self, value: tf.Tensor) -> tf.Tensor:
        """Returns log p(value) of each element, `[B, …]`."""
        location, log_scale = full_precision(self.location), full_precision(self.log_scale)
        degrees: Any = tf.exp(full_precision(self.log_degrees_of_freedom))
        t: Any = (tf.cast(value, location.dtype) - location) * tf.exp(-log_scale)
        log_peak = _log_gamma_ratio(degrees / 2) - 0.5 * math.log(2 * math.pi) - log_scale
        return log_peak - 0.5 * (degrees + 1) * tf.math.log1p(tf.square(t) / degrees)

    def log_prob(self, value: tf.Tensor) -> tf.Tensor:
        """Returns log p(value) per example, `[B]`."""
        return sum_per_example(self.log_prob_per_dimension(value))


def _log_gamma_ratio(a: Any) -> Any:
    """Returns log Γ(a + ½) − log Γ(a) − ½ log a, which tends to 0: the Gaussian is the limit.

    Large a have a series, since the difference of two large numbers would be lost in rounding.
    """
    small, large = tf.minimum(a, _LARGE), tf.maximum(a, _LARGE)
    direct = tf.math.lgamma(small + 0.5) - tf.math.lgamma(small) - 0.5 * tf.math.log(small)
    inverse = 1 / large
    series = sum(c * inverse ** (2 * n - 1) for n, c in enumerate(_COEFFICIENTS, 1))
    return tf.where(a < _LARGE, direct, series)
