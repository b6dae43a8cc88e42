"""Modified Bessel functions of the first kind, I_ν(x), of any order, without overflow or underflow.

What distributions on spheres need is F_ν(x) = Γ(ν + 1) (2 / x)^ν I_ν(x): the mean of exp(x w) over the
uniform distribution on a sphere in 2 ν + 2 dimensions, whose points have the first coordinate w. It is 1 at
x = 0, where I_ν and x^ν vanish. Tested against SciPy in `tests/distributions/test_bessel.py`.
"""

import math
from fractions import Fraction
from typing import Any

import tensorflow as tf

# From this order on, the first terms of the uniform expansion leave an error below 1e-15.
_LEAST_ORDER = 32
_NUM_TERMS = 9


def log_mean_exp(order: float, x: Any) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns log F_ν(x), and its derivative I_{ν+1}(x) / I_ν(x).

    The uniform asymptotic expansion (DLMF, https://dlmf.nist.gov/10.41, Eq. 10.41.3) gives both at a large
    order. The recurrence I_{ν-1} − I_{ν+1} = 2 ν / x · I_ν (DLMF, Eq. 10.29.1), of which I is the minimal
    solution, leads down from there without loss of digits. Every operation is smooth in x², also at 0, so
    gradients by x are as good.

    Args:
      order: ν, at least 0.
      x: floats of at least 0, of any shape.

    Returns:
      A pair of float64 tensors of the shape of `x`.
    """
    x = tf.cast(x, tf.float64)
    steps = max(0, math.ceil(_LEAST_ORDER - order))
    log_f, quotient = _expansion(order + steps, x)
    quarter: Any = tf.square(x / 2)
    for above in range(steps, 0, -1):
        growth = quarter * quotient / ((order + above) * (order + above + 1))
        log_f += tf.math.log1p(growth)
        quotient = 1 / (1 + growth)
    return log_f, x / (2 * (order + 1)) * quotient


def _expansion(order: float, x: Any) -> tuple[Any, Any]:
    """Returns log F_ν(x) of a large order, and F_{ν+1}(x) / F_ν(x), which is 2 (ν + 1) / x (log F_ν)'(x)."""
    root = tf.sqrt(1 + tf.square(x / order))
    excess = tf.square(x / order) / (1 + root)  # root − 1, without cancellation.
    p = 1 / root
    # Σ U_k(p) / ν^k; at p = 1 it is the series of Stirling's formula, which F has as a factor.
    series, slope = _series(_TERMS, order, p), _series(_SLOPES, order, p)
    leading: Any = order * (excess - tf.math.log1p(excess / 2)) - tf.math.log(root) / 2
    log_f = leading + tf.math.log(series / _series(_TERMS, order, tf.ones_like(p)))
    # The three parts of the derivative over x, since p' = −p³ x / ν².
    over_x = 1 / (order * (1 + root)) - tf.square(p / order) * (0.5 + p * slope / series)
    return log_f, 2 * (order + 1) * over_x


def _series(terms: list[list[float]], order: float, p: Any) -> Any:
    """Returns Σ U(p) / ν^k of polynomials, each by Horner's rule."""
    total = tf.zeros_like(p)
    for k, coefficients in enumerate(terms):
        value = tf.zeros_like(p)
        for coefficient in reversed(coefficients):
            value = value * p + coefficient
        total += value / order**k
    return total


def _polynomials(count: int) -> list[list[float]]:
    """Lists the coefficients of U_0, U_1, … by their recurrence (DLMF, Eq. 10.41.9)."""
    found = [[Fraction(1)]]
    while len(found) < count:
        following = [Fraction(0)] * (len(found[-1]) + 3)
        for power, coefficient in enumerate(found[-1]):
            following[power + 1] += coefficient * (Fraction(power, 2) + Fraction(1, 8 * (power + 1)))
            following[power + 3] -= coefficient * (Fraction(power, 2) + Fraction(5, 8 * (power + 3)))
        found.append(following)
    return [[float(coefficient) for coefficient in each] for each in found]


_TERMS = _polynomials(_NUM_TERMS)
_SLOPES = [[power * each for power, each in enumerate(term)][1:] for term in _TERMS]
