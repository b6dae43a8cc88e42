"""Densities and draws of Bernoulli variables against closed forms."""

import numpy as np
import pytest
import tensorflow as tf

from vaeflow.distributions import Bernoulli

GENERATOR = np.random.default_rng(0)
LOGITS = GENERATOR.normal(size=(3, 2, 4))
VALUE = GENERATOR.normal(size=(3, 2, 4))


def test_bernoulli_log_prob():
    probability = 1 / (1 + np.exp(-LOGITS))
    value = (VALUE > 0).astype(float)
    bernoulli = Bernoulli(tf.constant(LOGITS))
    expected = np.log(np.where(value == 1, probability, 1 - probability))
    np.testing.assert_allclose(bernoulli.log_prob_per_dimension(value), expected, rtol=1e-10)
    np.testing.assert_allclose(bernoulli.log_prob(value), expected.sum((1, 2)), rtol=1e-10)
    np.testing.assert_allclose(bernoulli.mean, probability, rtol=1e-12)


def test_bernoulli_scores_grey_pixels_by_the_cross_entropy():
    probability, grey = 1 / (1 + np.exp(-LOGITS)), 1 / (1 + np.exp(-VALUE))
    expected = grey * np.log(probability) + (1 - grey) * np.log(1 - probability)
    log_prob = Bernoulli(tf.constant(LOGITS)).log_prob_per_dimension(grey)
    np.testing.assert_allclose(log_prob, expected, rtol=1e-10)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
def test_bernoulli_at_extreme_logits(dtype):
    logits = tf.Variable(tf.constant([[-1000.0, 1000.0, -1000.0, 1000.0]], dtype))
    value = [[0.0, 1.0, 1.0, 0.0]]
    with tf.GradientTape() as tape:
        bernoulli = Bernoulli(tf.convert_to_tensor(logits))
        log_prob = bernoulli.log_prob(value)
    np.testing.assert_array_equal(bernoulli.log_prob_per_dimension(value), [[0.0, 0.0, -1000.0, -1000.0]])
    np.testing.assert_array_equal(log_prob, [-2000.0])
    gradient = tf.cast(tape.gradient(log_prob, logits), tf.float64)
    np.testing.assert_array_equal(gradient, [[0.0, 0.0, 1.0, -1.0]])


def test_bernoulli_samples_are_ones_as_often_as_the_mean_says():
    noise = 1.0 - np.random.default_rng(1).random((200_000, 3))  # In (0, 1].
    samples = Bernoulli(tf.constant([[-1.0, 0.0, 2.0]], tf.float64)).sample(noise).numpy()
    assert set(np.unique(samples)) == {0.0, 1.0}
    np.testing.assert_allclose(samples.mean(0), 1 / (1 + np.exp([1.0, 0.0, -2.0])), atol=0.005)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_logits_give_float32_values(dtype):
    log_prob = Bernoulli(tf.cast(LOGITS, dtype)).log_prob(tf.constant(VALUE))
    assert log_prob.dtype == tf.float32
    assert np.all(np.isfinite(log_prob))
