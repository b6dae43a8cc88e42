"""Densities and divergences of Gaussians against closed forms, numerical integrals and samples."""

import math

import numpy as np
import pytest
import tensorflow as tf

from vaeflow.distributions import Gaussian

GENERATOR = np.random.default_rng(0)
MEAN = GENERATOR.normal(size=(3, 2, 4))
LOG_VARIANCE = GENERATOR.normal(size=(3, 2, 4))
VALUE = GENERATOR.normal(size=(3, 2, 4))


def log_density(value, mean, log_variance):
    variance = np.exp(log_variance)
    return -((value - mean) ** 2) / (2 * variance) - np.log(np.sqrt(2 * np.pi * variance))


def test_gaussian_log_prob():
    expected = log_density(VALUE, MEAN, LOG_VARIANCE)
    gaussian = Gaussian(tf.constant(MEAN), tf.constant(LOG_VARIANCE))
    np.testing.assert_allclose(gaussian.log_prob_per_dimension(VALUE), expected, rtol=1e-12)
    np.testing.assert_allclose(gaussian.log_prob(VALUE), expected.sum((1, 2)), rtol=1e-12)


@pytest.mark.parametrize("shape", [(), (4,), (3, 1, 1), (3, 2, 1)])
def test_gaussian_log_variance_broadcasts(shape):
    log_variance = np.random.default_rng(1).normal(size=shape)
    expected = log_density(VALUE, MEAN, np.broadcast_to(log_variance, MEAN.shape))
    gaussian = Gaussian(tf.constant(MEAN), tf.constant(log_variance))
    np.testing.assert_allclose(gaussian.log_prob(VALUE), expected.sum((1, 2)), rtol=1e-12)


def test_unnormalized_gaussian_keeps_the_squared_error_only():
    gaussian = Gaussian(tf.constant(MEAN), tf.constant(LOG_VARIANCE), normalized=False)
    expected = -0.5 * ((VALUE - MEAN) ** 2 / np.exp(LOG_VARIANCE)).sum((1, 2))
    np.testing.assert_allclose(gaussian.log_prob(VALUE), expected, rtol=1e-12)


def test_gaussian_sample_is_the_linear_transform_of_its_noise():
    gaussian = Gaussian(tf.constant(MEAN), tf.constant(LOG_VARIANCE))
    expected = MEAN + np.sqrt(np.exp(LOG_VARIANCE)) * VALUE
    np.testing.assert_allclose(gaussian.sample(VALUE), expected, rtol=1e-12)


def test_gaussian_samples_have_its_moments():
    noise = np.random.default_rng(1).normal(size=(200_000, 2))
    gaussian = Gaussian(tf.constant(np.array([[1.0, -2.0]])), tf.constant(np.log([[4.0, 1.0]])))
    samples = gaussian.sample(noise).numpy()
    np.testing.assert_allclose(samples.mean(0), [1.0, -2.0], atol=0.02)
    np.testing.assert_allclose(samples.var(0), [4.0, 1.0], rtol=0.02)


def test_a_temperature_multiplies_the_deviation():
    gaussian = Gaussian(tf.constant(MEAN), tf.constant(LOG_VARIANCE)).tempered(0.3)
    np.testing.assert_allclose(gaussian.sample(VALUE), MEAN + 0.3 * np.exp(LOG_VARIANCE / 2) * VALUE)


def test_a_temperature_of_zero_leaves_the_mean():
    gaussian = Gaussian(tf.constant(MEAN), tf.constant(LOG_VARIANCE)).tempered(0.0)
    np.testing.assert_array_equal(gaussian.draw()[0], MEAN)


def other_gaussian():
    generator = np.random.default_rng(2)
    return generator.normal(size=MEAN.shape), generator.normal(size=MEAN.shape)


def test_kl_between_gaussians_is_its_integral():
    other_mean, other_log_variance = other_gaussian()
    kl = Gaussian(tf.constant(MEAN), tf.constant(LOG_VARIANCE)).kl_per_dimension(
        Gaussian(tf.constant(other_mean), tf.constant(other_log_variance))
    )
    grid = np.linspace(-40, 40, 20_001)[:, None, None, None]
    one, other = log_density(grid, MEAN, LOG_VARIANCE), log_density(grid, other_mean, other_log_variance)
    integrand = np.exp(one) * (one - other)
    np.testing.assert_allclose(kl, integrand.sum(0) * 80 / 20_000, rtol=1e-9)


@pytest.mark.slow
def test_kl_is_the_mean_difference_of_log_densities():
    other_mean, other_log_variance = other_gaussian()
    one = Gaussian(tf.constant(MEAN), tf.constant(LOG_VARIANCE))
    other = Gaussian(tf.constant(other_mean), tf.constant(other_log_variance))
    generator = np.random.default_rng(3)
    differences = np.array(
        [
            one.log_prob(sample) - other.log_prob(sample)
            for sample in (one.sample(generator.normal(size=MEAN.shape)) for _ in range(500))
        ]
    )
    error = differences.std(0) / math.sqrt(len(differences))
    assert np.all(np.abs(differences.mean(0) - tf.reduce_sum(one.kl(other), axis=1)) < 4 * error)


def test_kl_to_itself_is_zero_and_to_others_positive():
    one = Gaussian(tf.constant(MEAN), tf.constant(LOG_VARIANCE))
    np.testing.assert_allclose(one.kl(one), np.zeros((3, MEAN[0].size)), atol=1e-14)
    other_mean, other_log_variance = other_gaussian()
    other = Gaussian(tf.constant(other_mean), tf.constant(other_log_variance))
    assert np.all(one.kl_per_dimension(other) > 0)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_parameters_give_float32_values(dtype):
    mean, log_variance = tf.cast(MEAN, dtype), tf.cast(LOG_VARIANCE, dtype)
    exact = tf.cast(mean, tf.float64).numpy(), tf.cast(log_variance, tf.float64).numpy()
    gaussian = Gaussian(mean, log_variance)
    other = Gaussian(tf.constant(0.0), tf.constant(0.0))
    for tensor in (gaussian.log_prob(VALUE), gaussian.kl(other)):
        assert tensor.dtype == tf.float32
    expected = log_density(VALUE, *exact).sum((1, 2))
    np.testing.assert_allclose(gaussian.log_prob(VALUE), expected, rtol=1e-5)
    expected = 0.5 * (exact[0] ** 2 + np.exp(exact[1]) - exact[1] - 1).sum((1, 2))
    np.testing.assert_allclose(tf.reduce_sum(gaussian.kl(other), axis=1), expected, rtol=1e-5)


def test_a_float32_variance_beside_a_half_precision_mean():
    """As a learned sigma is under mixed_bfloat16."""
    gaussian = Gaussian(tf.constant([[1.0, 2.0]], tf.bfloat16), tf.constant(math.log(4.0)))
    sample = gaussian.sample(tf.ones((1, 2), tf.bfloat16))
    assert sample.dtype == tf.bfloat16
    np.testing.assert_allclose(tf.cast(sample, tf.float32), [[3.0, 4.0]])
    np.testing.assert_allclose(gaussian.log_prob([[1.0, 2.0]]), [-math.log(8 * math.pi)], rtol=1e-6)


def test_a_float64_density_takes_float32_values():
    value = VALUE.astype(np.float32)
    gaussian = Gaussian(tf.constant(MEAN), tf.constant(LOG_VARIANCE))
    expected = log_density(value.astype(float), MEAN, LOG_VARIANCE).sum((1, 2))
    np.testing.assert_allclose(gaussian.log_prob(tf.constant(value)), expected, rtol=1e-12)


def test_the_product_of_two_gaussians_is_the_normalized_product_of_their_densities():
    one = Gaussian(tf.constant([[0.4, -1.0]]), tf.constant([[0.7, -0.5]]))
    other = Gaussian(tf.constant([[-1.2, 0.3]]), tf.constant([[-0.9, 0.2]]))
    grid, width = np.linspace(-12, 12, 4001, retstep=True)
    values = np.stack([grid, grid], axis=1)
    product = np.exp(one.log_prob_per_dimension(values) + other.log_prob_per_dimension(values))
    expected = product / (product.sum(axis=0) * width)
    np.testing.assert_allclose(
        np.exp(one.product(other).log_prob_per_dimension(values)), expected, rtol=1e-4, atol=1e-7
    )


@pytest.mark.parametrize("log_variance", [-300.0, 300.0])
def test_the_product_with_a_point_or_a_flat_density_is_finite(log_variance):
    one = Gaussian(tf.constant([[0.5]]), tf.constant([[0.2]]))
    product = one.product(Gaussian(tf.constant([[2.0]]), tf.constant([[log_variance]])))
    mean, expected = (2.0, -300.0) if log_variance < 0 else (0.5, 0.2)
    assert float(product.mean[0, 0]) == pytest.approx(mean)
    assert float(product.log_variance[0, 0]) == pytest.approx(expected)
