"""The Laplace distribution against its formula and a numerical integral."""

import numpy as np
import pytest
import tensorflow as tf

from vaeflow.distributions import Laplace

GENERATOR = np.random.default_rng(0)
MEAN = GENERATOR.normal(size=(3, 2, 4))
LOG_SCALE = GENERATOR.normal(size=(3, 2, 4))
VALUE = GENERATOR.normal(size=(3, 2, 4))


def test_log_prob():
    scale = np.exp(LOG_SCALE)
    expected = np.log(np.exp(-np.abs(VALUE - MEAN) / scale) / (2 * scale))
    laplace = Laplace(tf.constant(MEAN), tf.constant(LOG_SCALE))
    np.testing.assert_allclose(laplace.log_prob_per_dimension(VALUE), expected, rtol=1e-12)
    np.testing.assert_allclose(laplace.log_prob(VALUE), expected.sum((1, 2)), rtol=1e-12)


def test_the_density_integrates_to_one():
    grid = np.linspace(-60.0, 60.0, 1_200_001)
    laplace = Laplace(tf.constant(0.3, tf.float64), tf.constant(0.7, tf.float64))
    density = np.exp(laplace.log_prob_per_dimension(grid).numpy())
    assert np.trapezoid(density, grid) == pytest.approx(1.0, abs=1e-7)


@pytest.mark.parametrize("shape", [(), (4,), (3, 2, 1)])
def test_the_scale_broadcasts(shape):
    log_scale = np.random.default_rng(1).normal(size=shape)
    scale = np.broadcast_to(np.exp(log_scale), MEAN.shape)
    expected = (-np.abs(VALUE - MEAN) / scale - np.log(2 * scale)).sum((1, 2))
    laplace = Laplace(tf.constant(MEAN), tf.constant(log_scale))
    np.testing.assert_allclose(laplace.log_prob(VALUE), expected, rtol=1e-12)


def test_unnormalized_it_is_the_scaled_distance():
    laplace = Laplace(tf.constant(MEAN), tf.constant(LOG_SCALE), normalized=False)
    expected = -(np.abs(VALUE - MEAN) / np.exp(LOG_SCALE)).sum((1, 2))
    np.testing.assert_allclose(laplace.log_prob(VALUE), expected, rtol=1e-12)


def test_half_precision_is_computed_in_single():
    laplace = Laplace(tf.constant(MEAN, tf.bfloat16), tf.constant(0.0, tf.bfloat16))
    assert laplace.log_prob(VALUE).dtype == "float32"
