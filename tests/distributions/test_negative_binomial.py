"""Negative binomial counts against their formula, and their limits."""

import itertools
import math

import numpy as np
import pytest
import tensorflow as tf

from vaeflow.distributions import NegativeBinomial, Poisson

GENERATOR = np.random.default_rng(0)
LOG_MEAN = GENERATOR.normal(3.0, 2.0, (3, 2, 4))
LOG_THETA = GENERATOR.normal(2.0, 2.0, (3, 2, 4))  # On both sides of 30, where the series begins.
COUNTS = GENERATOR.integers(0, 256, (3, 2, 4))


def twin(count, mean, theta):
    """Γ(n + θ) / (n! Γ(θ)) is the product of (θ + i) / (i + 1), i = 0 … n − 1."""
    log_binomial = sum(math.log((theta + i) / (i + 1)) for i in range(count))
    return log_binomial + theta * math.log(theta / (theta + mean)) + count * math.log(mean / (theta + mean))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_log_prob(dtype):
    log_mean, log_theta = LOG_MEAN.astype(dtype), LOG_THETA.astype(dtype)
    parameters = np.exp(log_mean.astype(float)), np.exp(log_theta.astype(float))
    expected = np.vectorize(twin)(COUNTS, *parameters)
    distribution = NegativeBinomial(tf.constant(log_mean), tf.constant(log_theta))
    value = (COUNTS / 255).astype(dtype)
    np.testing.assert_allclose(distribution.log_prob_per_dimension(value), expected, rtol=1e-10)
    np.testing.assert_allclose(
        distribution.log_prob(value), expected.sum((1, 2)), rtol=1e-11 if dtype == "float64" else 1e-6
    )
    assert distribution.log_prob(value).dtype == dtype


@pytest.mark.parametrize("mean", [0.01, 3.0, 100.0])
@pytest.mark.parametrize("theta", [0.3, 5.0, 29.9, 30.1, 1e4])
def test_the_counts_sum_to_one(mean, theta):
    """A count is at most μ / (θ + μ) · (1 + θ / N) times the one before, from N on: a geometric series."""
    most = 60_000 if theta < 1 else 6_000
    counts = np.arange(most + 1)
    distribution = NegativeBinomial(
        tf.fill((1, most + 1), tf.constant(math.log(mean), tf.float64)),
        tf.constant(math.log(theta), tf.float64),
        max_count=most,
    )
    probabilities = np.exp(distribution.log_prob_per_dimension(counts[None] / most))[0]
    ratio = mean / (theta + mean) * (1 + theta / most)
    rest = probabilities[-1] * ratio / (1 - ratio)
    assert rest < 1e-12
    assert probabilities.sum() == pytest.approx(1.0, abs=1e-10)
    assert probabilities @ counts == pytest.approx(mean, rel=1e-8)
    variance = probabilities @ counts**2 - mean**2
    assert variance == pytest.approx(mean + mean**2 / theta, rel=1e-6)


@pytest.mark.parametrize("log_theta", [25.0, 50.0])
def test_with_a_large_inverse_dispersion_it_is_poissons(log_theta):
    distribution = NegativeBinomial(tf.constant(LOG_MEAN), tf.constant(log_theta, tf.float64))
    expected = Poisson(tf.constant(LOG_MEAN)).log_prob_per_dimension(COUNTS / 255)
    np.testing.assert_allclose(distribution.log_prob_per_dimension(COUNTS / 255), expected, rtol=1e-6)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_its_gradients_are_finite(dtype):
    edges = itertools.product([-50.0, 0.0, 5.5, 50.0], [-50.0, 0.0, math.log(30.0), 50.0])
    parameters = [tf.constant(each, dtype) for each in np.array(list(edges)).T]
    for count in (0, 1, 255):
        with tf.GradientTape() as tape:
            tape.watch(parameters)
            log_prob = NegativeBinomial(*parameters).log_prob_per_dimension(tf.constant(count / 255, dtype))
        assert np.isfinite(log_prob).all()
        assert np.isfinite(tape.gradient(log_prob, parameters)).all()


@pytest.mark.parametrize("log_theta", [math.log(29.0), math.log(31.0), 12.0])
def test_its_gradient_by_the_inverse_dispersion_is_that_of_differences(log_theta):
    value = tf.constant([[40 / 255]], tf.float64)

    def log_prob(x):
        return NegativeBinomial(tf.constant([[3.0]], tf.float64), tf.reshape(x, (1, 1))).log_prob(value)

    theory, numeric = tf.test.compute_gradient(log_prob, [tf.constant(log_theta, tf.float64)])
    np.testing.assert_allclose(theory[0], numeric[0], rtol=1e-5, atol=1e-8)


def test_half_precision_is_computed_in_double_and_returned_in_single():
    distribution = NegativeBinomial(*(tf.constant(each, tf.bfloat16) for each in (LOG_MEAN, LOG_THETA)))
    assert distribution.log_prob(COUNTS / 255).dtype == "float32"
