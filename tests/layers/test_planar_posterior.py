"""Planar flows: determinants, inverse, the constraint that keeps them invertible, and a NumPy twin."""

import numpy as np
import pytest
import tensorflow as tf

from tests.fixtures import numpy_flows
from vaeflow import random
from vaeflow.layers import PlanarPosterior
from vaeflow.layers.planar_posterior import _invertible

FEATURES = np.random.default_rng(0).normal(size=(4, 6))
SIZES = [1, 5]


def made(num_latents, num_flows=3):
    """A posterior in float64, with weights that differ from where they start."""
    posterior = PlanarPosterior(num_latents, num_flows, dtype="float64")
    posterior.build((None, 6))
    numpy_flows.perturb(posterior)
    return posterior


def draw(posterior):
    """A distribution, and the noise, value and log density of a draw from it."""
    distribution = posterior.distribution(posterior(FEATURES))
    with random.keyed(0, "train", 2):
        noise = random.normal((len(FEATURES), posterior.num_latents), "float64").numpy()
    with random.keyed(0, "train", 2):
        return distribution, noise, *distribution.draw()


def parameters(count=200, num_latents=3, scale=3.0):
    """u, w and b, large enough that many of them would not be invertible as they are."""
    generator = np.random.default_rng(0)
    return [tf.constant(scale * generator.normal(size=(count, width))) for width in (*[num_latents] * 2, 1)]


@pytest.mark.parametrize("num_latents", SIZES)
def test_a_draw_is_that_of_its_twin(num_latents):
    posterior = made(num_latents)
    _, noise, value, log_prob = draw(posterior)
    expected, log_density = numpy_flows.planar(posterior, FEATURES, noise)
    np.testing.assert_allclose(value, expected, rtol=1e-11, atol=1e-12)
    np.testing.assert_allclose(log_prob, log_density, rtol=1e-11, atol=1e-12)


def test_the_log_determinant_is_that_of_the_jacobian():
    flow, value = _invertible(*parameters()), tf.constant(np.random.default_rng(1).normal(size=(200, 3)))
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(value)
        transformed, log_determinant = flow.forward(value)
    jacobian = tape.batch_jacobian(transformed, value, experimental_use_pfor=False)
    np.testing.assert_allclose(log_determinant, np.linalg.slogdet(jacobian)[1], rtol=1e-9, atol=1e-9)
    # None turns space inside out.
    np.testing.assert_array_equal(np.linalg.slogdet(jacobian)[0], 1.0)


def test_the_constraint_keeps_what_is_invertible_apart_from_its_slope():
    """w·û = m(w·u), and û differs from u along w only."""
    u, w, b = parameters()
    flow = _invertible(u, w, b)
    along, moved = np.sum(w * u, axis=1), (flow.direction - u).numpy()
    assert along.min() < -1
    np.testing.assert_allclose(np.sum(w * flow.direction, axis=1), np.log1p(np.exp(along)) - 1, atol=1e-10)
    of_normal = np.sum(moved * w, axis=1, keepdims=True) * w / np.sum(np.square(w), axis=1, keepdims=True)
    np.testing.assert_allclose(moved, of_normal, atol=1e-10)


@pytest.mark.parametrize("num_latents", SIZES)
def test_the_inverse_finds_what_was_transformed(num_latents):
    distribution, _, value, log_prob = draw(made(num_latents))
    np.testing.assert_allclose(distribution.log_prob(value), log_prob, rtol=1e-9)
    for flow in distribution.flows:
        transformed, log_determinant = flow.forward(value)
        again, of_inverse = flow.inverse(transformed)
        np.testing.assert_allclose(again, value, rtol=1e-10, atol=1e-10)
        np.testing.assert_allclose(of_inverse, log_determinant, rtol=1e-10, atol=1e-10)


def test_a_steep_flow_is_inverted_too():
    flow, value = _invertible(*parameters()), np.random.default_rng(1).normal(size=(200, 3))
    np.testing.assert_allclose(flow.inverse(flow.forward(value)[0])[0], value, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    ("num_latents", "num_points"), [(1, 2001), pytest.param(2, 241, marks=pytest.mark.families)]
)
def test_the_density_integrates_to_one(num_latents, num_points):
    posterior = made(num_latents)
    axis, width = np.linspace(-15, 15, num_points, retstep=True)
    grid = np.stack(np.meshgrid(*[axis] * num_latents), axis=-1).reshape(-1, num_latents)
    mean, log_variance, of_flows = posterior(FEATURES)
    # A wide base, so that the grid is fine enough.
    evidence = tuple(tf.repeat(each[:1], len(grid), axis=0) for each in (mean, 0 * log_variance, of_flows))
    log_prob = posterior.distribution(evidence).log_prob(grid)
    assert np.sum(np.exp(log_prob)) * width**num_latents == pytest.approx(1, abs=1e-5)


def test_the_density_is_differentiable_by_the_value_and_by_the_flow():
    value = tf.constant(np.random.default_rng(1).normal(size=(4, 3)))
    given = [value, *(each[:4] / 3.0 for each in parameters())]

    def log_determinant(value, *of_flow):
        found, log_determinant = _invertible(*of_flow).inverse(value)
        return tf.reduce_sum(tf.square(found)) + tf.reduce_sum(log_determinant)

    with tf.GradientTape() as tape:
        tape.watch(given)
        total = log_determinant(*given)
    for number, gradient in enumerate(tape.gradient(total, given)):
        direction = np.random.default_rng(number).normal(size=gradient.shape)
        moved = [
            log_determinant(*given[:number], given[number] + step * direction, *given[number + 1 :])
            for step in (1e-5, -1e-5)
        ]
        expected = float(moved[0] - moved[1]) / 2e-5
        assert float(tf.reduce_sum(gradient * direction)) == pytest.approx(expected, rel=1e-6)


def test_features_of_zeros_give_a_flow_without_a_direction():
    """w is 0, by whose length the constraint divides."""
    posterior = PlanarPosterior(3, dtype="float64")
    posterior.build((None, 6))
    with tf.GradientTape() as tape:
        value, log_prob = posterior.distribution(posterior(tf.zeros((2, 6), tf.float64))).draw()
        total = tf.reduce_sum(value) + tf.reduce_sum(log_prob)
    gradients = tape.gradient(total, [each.value for each in posterior.trainable_variables])
    assert np.isfinite(log_prob).all()
    assert all(np.isfinite(each).all() for each in gradients)


def test_it_computes_in_the_dtype_of_its_variables():
    posterior = PlanarPosterior(3, dtype="mixed_bfloat16")
    value, log_prob = posterior.distribution(posterior(FEATURES.astype("float32"))).draw()
    assert value.dtype == log_prob.dtype == tf.float32


def test_a_faulty_setting_is_refused():
    with pytest.raises(ValueError, match=r"`PlanarPosterior.num_flows` must be a positive integer, got 0"):
        PlanarPosterior(3, num_flows=0)
