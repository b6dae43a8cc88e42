"""Rational-quadratic splines: a NumPy twin, slopes, the inverse and the ends."""

import numpy as np
import pytest
import tensorflow as tf

from tests.fixtures import numpy_flows
from vaeflow.layers.splines import num_spline_parameters, spline_of

NUM_BINS, BOUND, COUNT = 5, 2.5, 60


def parameters(scale=2.0):
    return scale * np.random.default_rng(0).normal(size=(COUNT, num_spline_parameters(NUM_BINS)))


def values():
    """Inside and outside of the interval, and both ends."""
    return tf.constant([*np.random.default_rng(1).uniform(-3.2, 3.2, COUNT - 2), -BOUND, BOUND])


def spline(scale=2.0):
    return spline_of(tf.constant(parameters(scale)), NUM_BINS, BOUND)


def test_a_value_and_its_slope_are_those_of_the_twin():
    transformed, log_slopes = spline().forward(values())
    expected = [
        numpy_flows.rational_quadratic(value, raw, NUM_BINS, BOUND)
        for value, raw in zip(values().numpy(), parameters())
    ]
    np.testing.assert_allclose(transformed, [value for value, _ in expected], rtol=1e-11, atol=1e-12)
    np.testing.assert_allclose(np.exp(log_slopes), [slope for _, slope in expected], rtol=1e-10)


def test_the_slope_is_the_derivative():
    given = values()
    with tf.GradientTape() as tape:
        tape.watch(given)
        transformed, log_slopes = spline().forward(given)
    np.testing.assert_allclose(tape.gradient(transformed, given), np.exp(log_slopes), rtol=1e-10)


def test_the_inverse_finds_what_was_transformed():
    """Also where the spline is nearly flat or steep: slopes from 0.002 to 600."""
    made, given = spline(scale=6.0), values()
    transformed, log_slopes = made.forward(given)
    assert np.ptp(log_slopes) > np.log(1e4)
    again, of_inverse = made.inverse(transformed)
    np.testing.assert_allclose(again, given, atol=1e-9)
    np.testing.assert_allclose(of_inverse, log_slopes, atol=1e-6)


def test_it_is_the_identity_outside_of_the_interval_and_at_its_ends():
    given = values().numpy()
    transformed, log_slopes = spline().forward(given)
    outside = np.abs(given) >= BOUND
    assert outside.sum() > 5
    np.testing.assert_allclose(transformed[outside], given[outside], rtol=1e-14)
    np.testing.assert_allclose(log_slopes[outside], 0.0, atol=1e-12)


def test_parameters_of_zero_give_the_identity():
    transformed, log_slopes = spline(scale=0.0).forward(values())
    np.testing.assert_allclose(transformed, values(), atol=1e-13)
    np.testing.assert_allclose(log_slopes, 0.0, atol=1e-13)


@pytest.mark.parametrize("direction", ["forward", "inverse"])
def test_gradients_are_finite_at_knots_ends_and_far_away(direction):
    raw = tf.constant(parameters())
    knots = spline().x[:, 2]
    for given in (knots, tf.fill(knots.shape, np.float64(BOUND)), tf.fill(knots.shape, np.float64(1e6))):
        with tf.GradientTape() as tape:
            tape.watch([raw, given])
            total = sum(map(tf.reduce_sum, getattr(spline_of(raw, NUM_BINS, BOUND), direction)(given)))
        for gradient in tape.gradient(total, [raw, given]):
            assert np.isfinite(gradient).all()
