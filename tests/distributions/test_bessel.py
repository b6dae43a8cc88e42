"""Bessel functions against SciPy's, over orders and arguments."""

import math

import numpy as np
import pytest
import tensorflow as tf
from scipy import special

from vaeflow.distributions.bessel import log_mean_exp

ORDERS = (0.0, 0.5, 4.0, 24.0, 99.0)
ARGUMENTS = np.array([1e-3, 0.1, 1.0, 7.3, 30.0, 1e2, 1e3, 3e4])


@pytest.mark.parametrize("order", ORDERS)
def test_the_values_are_those_of_scipy(order):
    """Where SciPy's do not underflow."""
    log_f, ratio = (value.numpy() for value in log_mean_exp(order, ARGUMENTS))
    scaled = special.ive(order, ARGUMENTS)
    known = scaled > 1e-290
    assert known.sum() > 4
    x = ARGUMENTS[known]
    expected = np.log(scaled[known]) + x + order * np.log(2 / x) + math.lgamma(order + 1)
    np.testing.assert_allclose(log_f[known], expected, rtol=3e-13, atol=3e-13)
    np.testing.assert_allclose(ratio[known], special.ive(order + 1, x) / scaled[known], rtol=1e-13)


def test_near_zero_it_is_its_series():
    """F = 1 + x² / (4 (ν + 1)) + …, and exactly 1 at 0."""
    x = np.array([0.0, 1e-8, 1e-4])
    for order in ORDERS:
        log_f, ratio = log_mean_exp(order, x)
        np.testing.assert_allclose(log_f, x**2 / (4 * (order + 1)), rtol=1e-7, atol=1e-15)
        np.testing.assert_allclose(ratio, x / (2 * (order + 1)), rtol=1e-7)


@pytest.mark.slow
@pytest.mark.parametrize("order", [0.0, 9.5, 99.0])
def test_the_gradients_are_the_known_derivatives(order):
    """Of log F the quotient A of Bessel functions, and of A 1 − A² − (2 ν + 1) A / x."""
    x = tf.constant([0.0, *ARGUMENTS, 1e6], tf.float64)
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(x)
        log_f, ratio = log_mean_exp(order, x)
    of_log_f, of_ratio = (tape.gradient(value, x).numpy() for value in (log_f, ratio))
    np.testing.assert_allclose(of_log_f, ratio, rtol=1e-9, atol=1e-15)
    small = slice(1, -2)
    a, positive = ratio.numpy()[small], x.numpy()[small]
    expected = 1 - a**2 - (2 * order + 1) * a / positive
    np.testing.assert_allclose(of_ratio[small], expected, rtol=1e-7, atol=1e-13)
    assert of_ratio[0] == pytest.approx(0.5 / (order + 1))
    # The difference has no digits left where x is large; there it is (2 ν + 1) / (2 x²) + O(x^-3).
    np.testing.assert_allclose(of_ratio[-2:], (order + 0.5) / x.numpy()[-2:] ** 2, rtol=1e-2)
