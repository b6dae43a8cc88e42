"""Mixtures against sums over their components, finite differences and analytic moments."""

import math

import numpy as np
import pytest
import tensorflow as tf

from tests.fixtures import numpy_mixtures
from vaeflow import random
from vaeflow.distributions import Gaussian, Mixture, closed_kl

K, D = 3, 2
GENERATOR = np.random.default_rng(0)
LOGITS = np.array([0.3, -1.0, 1.2])
WEIGHTS = np.exp(LOGITS) / np.exp(LOGITS).sum()
MEANS = GENERATOR.normal(size=(K, D))
LOG_VARIANCES = GENERATOR.normal(size=(K, D))
VALUES = 2 * GENERATOR.normal(size=(5, D))


def mixture(logits=LOGITS, means=MEANS, log_variances=LOG_VARIANCES, dtype="float64"):
    return Mixture(*(tf.constant(value, dtype) for value in (logits, means, log_variances)))


def test_the_density_is_the_weighted_sum_of_the_components():
    expected = numpy_mixtures.density(VALUES, WEIGHTS, MEANS, LOG_VARIANCES)
    np.testing.assert_allclose(mixture().log_prob(VALUES), np.log(expected), rtol=1e-12)


def test_the_density_integrates_to_one():
    grid = np.linspace(-15, 15, 301)
    points = np.stack(np.meshgrid(grid, grid), axis=-1).reshape(-1, 2)
    total = np.exp(mixture().log_prob(points)).sum() * (grid[1] - grid[0]) ** 2
    assert total == pytest.approx(1.0, abs=1e-6)


def test_one_component_is_a_gaussian():
    one = mixture([0.7], MEANS[:1], LOG_VARIANCES[:1])
    gaussian = Gaussian(tf.constant(MEANS[0]), tf.constant(LOG_VARIANCES[0]))
    np.testing.assert_allclose(one.log_prob(VALUES), gaussian.log_prob(VALUES), rtol=1e-12)


def test_a_value_far_from_all_components_keeps_its_density():
    """The exponentials underflow in float64: exp(-5e5)."""
    far = mixture([0.0, 0.0], np.zeros((2, 2)), np.zeros((2, 2))).log_prob([[1000.0, 0.0]])
    np.testing.assert_allclose(far, [-500_000 - math.log(2 * math.pi)], rtol=1e-12)


def test_narrow_components_cost_no_accuracy_in_float32():
    """As the posteriors of pseudo-inputs are. Float32 products would be off by a nat."""
    generator = np.random.default_rng(1)
    means = generator.normal(size=(50, 40)).astype(np.float32)
    log_variances = np.full((50, 40), -10.0, np.float32)
    values = (means[:6] + 0.01 * generator.normal(size=(6, 40))).astype(np.float32)
    nearest = means[:6].astype(float)
    squares = ((values.astype(float) - nearest) ** 2 / np.exp(-10.0)).sum(axis=1)
    expected = -0.5 * (squares + 40 * (math.log(2 * math.pi) - 10)) - math.log(50)
    log_prob = mixture(np.zeros(50), means, log_variances, "float32").log_prob(values)
    assert log_prob.dtype == tf.float32
    np.testing.assert_allclose(log_prob, expected, atol=1e-4)


def test_half_precision_parameters_give_float32_densities():
    halves = mixture(dtype="bfloat16")
    exact = [tf.cast(each, tf.float64).numpy() for each in halves.parameters.values()]
    weights = np.exp(exact[0]) / np.exp(exact[0]).sum()
    log_prob = halves.log_prob(tf.constant(VALUES, tf.float32))
    assert log_prob.dtype == tf.float32
    expected = np.log(numpy_mixtures.density(VALUES, weights, *exact[1:]))
    np.testing.assert_allclose(log_prob, expected, rtol=1e-5)


@pytest.mark.parametrize("which", range(4), ids=["logits", "means", "log_variances", "value"])
def test_the_gradient_of_the_density_is_its_finite_difference(which):
    arguments = [LOGITS, MEANS, LOG_VARIANCES, VALUES]

    def total(changed):
        logits, means, log_variances, values = [*arguments[:which], changed, *arguments[which + 1 :]]
        weights = np.exp(logits) / np.exp(logits).sum()
        return np.log(numpy_mixtures.density(values, weights, means, log_variances)).sum()

    variables = [tf.Variable(value) for value in arguments]
    with tf.GradientTape() as tape:
        tensors = [tf.convert_to_tensor(variable) for variable in variables]
        log_prob = Mixture(*tensors[:3]).log_prob(tensors[3])
    gradient = tape.gradient(log_prob, variables[which]).numpy()
    start, step = arguments[which], 1e-5
    differences = [
        (total(start + step * moved) - total(start - step * moved)) / (2 * step)
        for moved in np.eye(start.size).reshape(-1, *start.shape)
    ]
    np.testing.assert_allclose(gradient.reshape(-1), differences, atol=1e-8)


def drawn(distribution, num_rows, step=0, **arguments):
    with random.keyed(1, "test", step):
        return distribution.draw(num_rows, **arguments)


def test_draws_have_the_moments_of_the_mixture():
    values, log_prob = drawn(mixture(), 100_000)
    numpy_mixtures.assert_moments(values.numpy(), WEIGHTS, MEANS, LOG_VARIANCES)
    np.testing.assert_allclose(log_prob[:10], mixture().log_prob(values[:10]))


def test_components_are_drawn_by_their_weights():
    """They lie so far apart that a draw tells its component."""
    num_rows = 100_000
    values, _ = drawn(mixture(means=[[0.0, 0.0], [1000.0, 0.0], [2000.0, 0.0]]), num_rows)
    shares = np.bincount(np.rint(values[:, 0] / 1000).astype(int), minlength=3) / num_rows
    assert np.all(np.abs(shares - WEIGHTS) < 4 * np.sqrt(WEIGHTS * (1 - WEIGHTS) / num_rows))


def test_a_component_of_weight_zero_is_never_drawn():
    with_nothing = mixture([0.0, -np.inf, 0.0], [[0.0, 0.0], [1000.0, 0.0], [2000.0, 0.0]])
    components = np.rint(drawn(with_nothing, 10_000)[0][:, 0] / 1000)
    assert set(components) == {0, 2}


def test_the_components_are_the_same_in_every_precision():
    values = [drawn(mixture(dtype=dtype), 1000)[0] for dtype in ("float64", "float32")]
    np.testing.assert_allclose(*values, rtol=1e-4, atol=1e-5)


def test_a_draw_is_keyed_by_the_row():
    whole = drawn(mixture(), 6)[0]
    with random.keyed(1, "test", 0, first_position=2):
        part = mixture().draw(4)[0]
    np.testing.assert_array_equal(part, whole[2:])


def test_replicas_can_share_a_draw():
    with random.keyed(1, "test", 0, first_position=2):
        part = mixture().draw(6, shared=True)[0]
    np.testing.assert_array_equal(part, drawn(mixture(), 6)[0])


def test_a_mixture_has_no_rows_of_its_own():
    with pytest.raises(ValueError, match=r"no rows of its own; say how many"):
        mixture().draw()


def test_the_center_is_the_mean():
    np.testing.assert_allclose(mixture().center, numpy_mixtures.moments(WEIGHTS, MEANS, LOG_VARIANCES)[0])


def test_the_parameters_are_named():
    parameters = mixture().parameters
    assert list(parameters) == ["logits", "means", "log_variances"]
    np.testing.assert_array_equal(parameters["means"], MEANS)


def test_no_closed_form_leads_to_a_mixture_nor_from_it():
    gaussian = Gaussian(tf.zeros((4, 2)), tf.zeros((4, 2)))
    assert closed_kl(gaussian, mixture()) is None
    assert closed_kl(mixture(), gaussian) is None


def test_a_temperature_multiplies_the_deviations_of_the_components():
    values, _ = drawn(mixture().tempered(0.5), 100_000)
    numpy_mixtures.assert_moments(values.numpy(), WEIGHTS, MEANS, LOG_VARIANCES + 2 * math.log(0.5))
    np.testing.assert_array_equal(mixture().tempered(0.5).logits, LOGITS)


def test_a_temperature_of_one_changes_no_bit():
    for one, other in zip(
        mixture().tempered(1.0).parameters.values(), mixture().parameters.values(), strict=True
    ):
        np.testing.assert_array_equal(one, other)
