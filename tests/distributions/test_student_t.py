"""Student's t distribution against its formula, its limits and a numerical integral."""

import itertools
import math

import numpy as np
import pytest
import tensorflow as tf

from vaeflow.distributions import Gaussian, StudentT

GENERATOR = np.random.default_rng(0)
LOCATION, LOG_SCALE, VALUE = GENERATOR.normal(size=(3, 3, 2, 4))
DEGREES = np.exp(GENERATOR.normal(size=(3, 2, 4)))
log_gamma = np.vectorize(math.lgamma)


def twin(value, location, scale, degrees):
    t = (value - location) / scale
    log_peak = log_gamma((degrees + 1) / 2) - log_gamma(degrees / 2) - 0.5 * np.log(np.pi * degrees)
    return log_peak - np.log(scale) - (degrees + 1) / 2 * np.log1p(t**2 / degrees)


def made(location=LOCATION, log_scale=LOG_SCALE, degrees=DEGREES, dtype="float64"):
    return StudentT(*(tf.constant(each, dtype) for each in (location, log_scale, np.log(degrees))))


@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-12), ("float32", 2e-6)])
@pytest.mark.parametrize("factor", [1.0, 60.0])
def test_log_prob(dtype, tolerance, factor):
    degrees = factor * DEGREES  # With 60, some lie above 50, where the series begins.
    expected = twin(VALUE, LOCATION, np.exp(LOG_SCALE), degrees)
    distribution = made(degrees=degrees, dtype=dtype)
    np.testing.assert_allclose(
        distribution.log_prob_per_dimension(VALUE), expected, rtol=tolerance, atol=5 * tolerance
    )
    np.testing.assert_allclose(distribution.log_prob(VALUE), expected.sum((1, 2)), rtol=10 * tolerance)


@pytest.mark.parametrize("degrees", [0.5, 1.0, 3.0, 49.9, 50.1, 1e6])
def test_the_density_integrates_to_one(degrees):
    # In u = asinh(t): the tail beyond T is below T^(−ν), and dt is cosh(u) du.
    u = np.linspace(-60.0, 60.0, 40_001)
    t = np.sinh(u)
    distribution = made(0.3, math.log(2.0), degrees)
    density = np.exp(distribution.log_prob_per_dimension(0.3 + 2.0 * t).numpy()) * 2.0 * np.cosh(u)
    assert np.trapezoid(density, u) == pytest.approx(1.0, abs=1e-10)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_with_many_degrees_of_freedom_it_is_the_gaussian(dtype):
    gaussian = Gaussian(tf.constant(LOCATION, dtype), tf.constant(2 * LOG_SCALE, dtype))
    log_prob = made(degrees=np.full_like(DEGREES, 1e8), dtype=dtype).log_prob_per_dimension(VALUE)
    np.testing.assert_allclose(log_prob, gaussian.log_prob_per_dimension(VALUE), rtol=1e-5, atol=1e-6)


def test_with_one_degree_of_freedom_it_is_cauchys():
    scale = np.exp(LOG_SCALE)
    expected = -np.log(np.pi * scale * (1 + ((VALUE - LOCATION) / scale) ** 2))
    log_prob = made(degrees=np.ones_like(DEGREES)).log_prob_per_dimension(VALUE)
    np.testing.assert_allclose(log_prob, expected, rtol=1e-12)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_its_gradients_are_finite(dtype):
    edges = itertools.product([-50.0, 0.0, 0.5, 50.0], [-10.0, 0.0, 50.0], [-5.0, 0.0, math.log(50), 20.0])
    parameters = [tf.constant(each, dtype) for each in np.array(list(edges)).T]
    for value in (0.0, 0.5, 1.0):
        with tf.GradientTape() as tape:
            tape.watch(parameters)
            log_prob = StudentT(*parameters).log_prob_per_dimension(tf.constant(value, dtype))
        assert np.isfinite(log_prob).all()
        assert np.isfinite(tape.gradient(log_prob, parameters)).all()


def test_the_gradient_by_the_degrees_of_freedom_is_continuous_where_the_series_begins():
    log_degrees = tf.constant(np.log([[49.999999], [50.000001]]))
    with tf.GradientTape() as tape:
        tape.watch(log_degrees)
        log_prob = StudentT(tf.zeros((2, 1), tf.float64), tf.zeros((2, 1), tf.float64), log_degrees).log_prob(
            [[1.7], [1.7]]
        )
    below, above = tape.gradient(log_prob, log_degrees).numpy()
    assert below == pytest.approx(above, rel=1e-6)


def test_half_precision_is_computed_in_single():
    assert made(dtype="bfloat16").log_prob(VALUE).dtype == "float32"
