"""Poisson counts against their formula."""

import math

import numpy as np
import pytest
import tensorflow as tf

from vaeflow.distributions import Poisson

GENERATOR = np.random.default_rng(0)
LOG_RATE = GENERATOR.normal(3.0, 2.0, (3, 2, 4))
COUNTS = GENERATOR.integers(0, 256, (3, 2, 4))
log_factorial = np.vectorize(lambda count: sum(math.log(factor) for factor in range(1, count + 1)))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_log_prob(dtype):
    log_rate = LOG_RATE.astype(dtype)  # Rounded, it is another rate.
    expected = COUNTS * log_rate.astype(float) - np.exp(log_rate.astype(float)) - log_factorial(COUNTS)
    poisson = Poisson(tf.constant(log_rate))
    value = (COUNTS / 255).astype(dtype)
    np.testing.assert_allclose(poisson.log_prob_per_dimension(value), expected, rtol=1e-11)
    np.testing.assert_allclose(
        poisson.log_prob(value), expected.sum((1, 2)), rtol=1e-12 if dtype == "float64" else 1e-6
    )
    assert poisson.log_prob(value).dtype == dtype


@pytest.mark.parametrize("rate", [0.01, 1.0, 30.0, 400.0])
def test_the_counts_sum_to_one(rate):
    """Those beyond 1000 have at most 2^−1000 of them, as n! grows faster than (2 rate)^n there."""
    counts = np.arange(1001)
    poisson = Poisson(tf.fill((1, 1001), tf.constant(math.log(rate), tf.float64)), max_count=1000)
    probabilities = np.exp(poisson.log_prob_per_dimension(counts[None] / 1000))
    assert probabilities.sum() == pytest.approx(1.0, abs=1e-11)
    assert probabilities[0] @ counts / 1000 == pytest.approx(float(poisson.mean[0, 0]), rel=1e-11)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("count", [0, 1, 255])
def test_its_gradient_is_the_count_minus_the_rate(dtype, count):
    log_rate = tf.constant([[-50.0, 0.0, 5.5, 50.0]], dtype)
    with tf.GradientTape() as tape:
        tape.watch(log_rate)
        log_prob = Poisson(log_rate).log_prob(tf.fill((1, 4), tf.constant(count / 255, dtype)))
    assert np.isfinite(log_prob).all()
    expected = count - np.exp(log_rate.numpy().astype(float))
    np.testing.assert_allclose(tape.gradient(log_prob, log_rate), expected, rtol=1e-6)


def test_half_precision_is_computed_in_double_and_returned_in_single():
    poisson = Poisson(tf.constant(LOG_RATE, tf.bfloat16))
    assert poisson.log_prob(COUNTS / 255).dtype == "float32"
    exact = Poisson(tf.cast(tf.constant(LOG_RATE, tf.bfloat16), tf.float64)).log_prob(COUNTS / 255)
    np.testing.assert_allclose(poisson.log_prob(COUNTS / 255), exact, rtol=1e-6)
