"""The continuous Bernoulli distribution against the formulas of its paper and a numerical integral."""

import numpy as np
import pytest
import tensorflow as tf

from vaeflow.distributions import ContinuousBernoulli

GRID = np.linspace(0.0, 1.0, 20_001)
LOGITS = np.array([-50.0, -7.0, -1.3, -0.51, 0.51, 0.9, 4.0, 50.0])
# Below 0.5 in size there is the series; 1e-9 would lose all digits in the formula of the paper.
NEAR_HALF = np.array([-0.5, -0.499, -0.1, -1e-9, 0.0, 1e-9, 3e-3, 0.3, 0.499, 0.5])


def paper_log_prob(value, logits):
    """With λ = 1 / (1 + exp(−l)), written with 1 − 2λ = −tanh(l / 2), which keeps its digits."""
    lambda_ = 1 / (1 + np.exp(-logits))
    log_constant = np.log(2 * np.arctanh(np.tanh(-logits / 2)) / np.tanh(-logits / 2))
    return log_constant + value * np.log(lambda_) + (1 - value) * np.log1p(-lambda_)


def density_on_grid(logits):
    distribution = ContinuousBernoulli(tf.constant(logits)[:, None])
    return np.exp(distribution.log_prob_per_dimension(np.broadcast_to(GRID, (len(logits), len(GRID)))))


def test_log_prob():
    logits = np.array([[-7.0, -1.3, -0.51], [0.51, 0.9, 4.0]])
    value = np.random.default_rng(0).random((2, 3))
    continuous = ContinuousBernoulli(tf.constant(logits))
    expected = paper_log_prob(value, logits)
    np.testing.assert_allclose(continuous.log_prob_per_dimension(value), expected, rtol=1e-11)
    np.testing.assert_allclose(continuous.log_prob(value), expected.sum(1), rtol=1e-11)


def test_near_one_half_it_is_the_formula_where_that_keeps_its_digits():
    logits = np.array([[-0.5, -0.499, -0.1, 0.3, 0.499, 0.5]])
    value = np.random.default_rng(1).random((1, 6))
    log_prob = ContinuousBernoulli(tf.constant(logits)).log_prob_per_dimension(value)
    np.testing.assert_allclose(log_prob, paper_log_prob(value, logits), rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("logits", [LOGITS, NEAR_HALF], ids=["far", "near one half"])
def test_the_density_integrates_to_one(logits):
    integrals = np.trapezoid(density_on_grid(logits), GRID, axis=1)
    # The error of the rule is h² (f'(1) − f'(0)) / 12, with f' of at most l².
    np.testing.assert_allclose(integrals, 1.0, atol=50**2 / 20_000**2 / 12 * 1.01)


@pytest.mark.parametrize("logits", [LOGITS, NEAR_HALF], ids=["far", "near one half"])
def test_the_mean_is_that_of_the_density(logits):
    expected = np.trapezoid(density_on_grid(logits) * GRID, GRID, axis=1)
    mean = ContinuousBernoulli(tf.constant(logits)).mean
    np.testing.assert_allclose(mean, expected, atol=1e-6)
    lambda_ = 1 / (1 + np.exp(-LOGITS))
    with np.errstate(divide="ignore"):
        of_paper = lambda_ / (2 * lambda_ - 1) + 1 / (2 * np.arctanh(1 - 2 * lambda_))
    np.testing.assert_allclose(
        ContinuousBernoulli(tf.constant(LOGITS[1:-1])).mean, of_paper[1:-1], rtol=1e-11
    )


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-6), ("float64", 1e-14)])
def test_the_gradient_of_log_prob_is_the_value_minus_the_mean(dtype, tolerance):
    """As of every exponential family, here also where the formulas of the paper divide 0 by 0."""
    logits = tf.constant(np.concatenate([LOGITS, NEAR_HALF, [-1e4, 1e4]]), dtype)
    for value in (0.0, 0.3, 1.0):
        with tf.GradientTape() as tape:
            tape.watch(logits)
            continuous = ContinuousBernoulli(logits)
            log_prob = continuous.log_prob_per_dimension(tf.fill(logits.shape, tf.constant(value, dtype)))
        gradient = tape.gradient(log_prob, logits)
        np.testing.assert_allclose(gradient, value - continuous.mean, atol=tolerance)


def test_float32_agrees_with_float64():
    logits = np.concatenate([LOGITS, NEAR_HALF])[None]
    value = np.random.default_rng(2).random(logits.shape)
    one, other = (
        ContinuousBernoulli(tf.constant(logits, dtype)).log_prob_per_dimension(value)
        for dtype in ("float32", "float64")
    )
    np.testing.assert_allclose(one, other, rtol=1e-6, atol=1e-6)


def test_half_precision_is_computed_in_single():
    assert (
        ContinuousBernoulli(tf.constant(LOGITS[None], tf.bfloat16)).log_prob(LOGITS[None]).dtype == "float32"
    )
