"""Categorical variables as one-hot vectors, and their relaxation, against NumPy."""

import numpy as np
import pytest
import tensorflow as tf

from tests.fixtures import numpy_categories
from vaeflow import random
from vaeflow.distributions import (
    Gaussian,
    OneHotCategorical,
    RelaxedOneHotCategorical,
    UniformOverCodes,
    has_density,
    is_discrete,
)
from vaeflow.errors import ConfigurationError

LOGITS = 1.5 * np.random.default_rng(0).normal(size=(4, 3, 5))
NOISE_SHAPE = LOGITS.shape


def categorical():
    return OneHotCategorical(tf.constant(LOGITS))


def uniform(num_variables=3, num_categories=5):
    return UniformOverCodes(
        (num_categories,) * num_variables,
        (),
        lambda codes: tf.reshape(tf.one_hot(codes, num_categories), (-1, num_variables * num_categories)),
    )


def drawn(distribution):
    with random.keyed(0, "train", 7):
        return distribution.draw()


def test_a_draw_is_the_category_whose_perturbed_logit_is_largest():
    value, log_prob = drawn(categorical())
    noise = numpy_categories.gumbel_noise(NOISE_SHAPE)
    chosen = np.argmax(LOGITS + noise, axis=-1)
    np.testing.assert_array_equal(value, np.eye(5)[chosen].reshape(4, 15))
    probabilities = np.take_along_axis(numpy_categories.softmax(LOGITS), chosen[..., None], axis=-1)
    np.testing.assert_allclose(log_prob, np.log(probabilities).sum(axis=(1, 2)), rtol=1e-12)


def test_draws_have_the_probabilities():
    """Of 20,000 draws each share lies within four standard errors."""
    count = 20_000
    many = OneHotCategorical(tf.constant(np.repeat(LOGITS[:1], count, axis=0)))
    shares = drawn(many)[0].numpy().mean(axis=0)
    expected = numpy_categories.softmax(LOGITS[0]).ravel()
    assert np.all(np.abs(shares - expected) < 4 * np.sqrt(expected * (1 - expected) / count))


def test_the_kl_to_the_uniform_prior_is_that_of_the_sum_over_categories():
    for distribution in (categorical(), RelaxedOneHotCategorical(categorical(), 0.5)):
        np.testing.assert_allclose(
            distribution.kl(uniform()), numpy_categories.kl_to_uniform(LOGITS), rtol=1e-10
        )


def test_the_kl_is_the_mean_of_log_q_minus_log_p():
    """Over all 125 values of an example."""
    codes = np.stack(np.meshgrid(*[np.arange(5)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
    values = tf.constant(np.eye(5)[codes].reshape(-1, 15))
    one = OneHotCategorical(tf.constant(np.repeat(LOGITS[:1], len(codes), axis=0)))
    log_q, log_p = one.log_prob(values).numpy(), uniform().log_prob(values).numpy()
    assert np.exp(log_q).sum() == pytest.approx(1)
    assert np.exp(log_p).sum() == pytest.approx(1)
    assert np.sum(np.exp(log_q) * (log_q - log_p)) == pytest.approx(
        float(tf.reduce_sum(one.kl(uniform())[0]))
    )


def test_a_relaxed_draw_is_that_of_its_twin_and_has_no_density():
    value, log_prob = drawn(RelaxedOneHotCategorical(categorical(), 0.7))
    noise = numpy_categories.gumbel_noise(NOISE_SHAPE)
    np.testing.assert_allclose(value, numpy_categories.relaxed(LOGITS, noise, 0.7).reshape(4, 15), rtol=1e-11)
    assert log_prob is None
    assert not has_density(RelaxedOneHotCategorical(categorical(), 0.7))


def test_a_relaxed_draw_nears_the_hard_one_of_the_same_noise():
    hard, _ = drawn(categorical())
    cold, _ = drawn(RelaxedOneHotCategorical(categorical(), 1e-3))
    np.testing.assert_allclose(cold, hard, atol=1e-12)


def test_straight_through_is_hard_and_has_the_gradient_of_the_relaxed_draw():
    weights = np.random.default_rng(1).normal(size=15)
    gradients, values = [], []
    for straight_through in (True, False):
        logits = tf.constant(LOGITS)
        with tf.GradientTape() as tape:
            tape.watch(logits)
            relaxed = RelaxedOneHotCategorical(OneHotCategorical(logits), 0.7, straight_through)
            value, _ = drawn(relaxed)
            total = tf.reduce_sum(value * weights)
        gradients.append(tape.gradient(total, logits).numpy())
        values.append(value.numpy())
    np.testing.assert_array_equal(values[0], drawn(categorical())[0])
    np.testing.assert_allclose(gradients[0], gradients[1], rtol=1e-12)
    assert np.abs(gradients[0]).max() > 0.01


def test_center_and_codes_are_the_likeliest_categories():
    for distribution in (categorical(), RelaxedOneHotCategorical(categorical(), 0.5)):
        np.testing.assert_array_equal(distribution.codes, LOGITS.argmax(axis=-1)[:, None, None])
        np.testing.assert_array_equal(distribution.center, np.eye(5)[LOGITS.argmax(axis=-1)].reshape(4, 15))
        assert distribution.code_sizes == (5, 5, 5)
        assert is_discrete(distribution)
    np.testing.assert_allclose(
        categorical().parameters["probabilities"], numpy_categories.softmax(LOGITS), rtol=1e-12
    )


def test_another_prior_is_refused():
    zeros = tf.zeros(15, tf.float64)
    with pytest.raises(
        ConfigurationError, match=r"need a prior over codes, got Gaussian; set .*@UniformCodes"
    ):
        categorical().kl(Gaussian(zeros, zeros))
