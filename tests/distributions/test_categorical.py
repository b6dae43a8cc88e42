"""The distribution of a code, against probabilities written down by hand."""

import numpy as np
import pytest
import tensorflow as tf

from vaeflow.distributions import Categorical

P = np.array([0.1, 0.4, 0.05, 0.3, 0.15])


def of(probabilities):
    return Categorical(tf.constant(np.log(probabilities) + 7.0))


def test_log_probabilities_are_those_of_the_softmax():
    logits = np.random.default_rng(0).normal(size=(4, 3, 6))
    codes = np.random.default_rng(1).integers(0, 6, (4, 3))
    expected = np.take_along_axis(logits, codes[..., None], -1)[..., 0] - np.log(np.exp(logits).sum(-1))
    np.testing.assert_allclose(Categorical(tf.constant(logits)).log_prob(codes), expected, rtol=1e-12)


def test_half_precision_is_summed_in_single():
    logits = np.random.default_rng(0).normal(size=(2, 300))
    found = Categorical(tf.constant(logits, tf.bfloat16)).log_prob(tf.constant([3, 299]))
    rounded = tf.cast(tf.constant(logits, tf.bfloat16), tf.float64)
    assert found.dtype == tf.float32
    np.testing.assert_allclose(found, tf.nn.log_softmax(rounded).numpy()[[0, 1], [3, 299]], rtol=1e-5)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_the_temperature_is_a_power(temperature):
    expected = P ** (1 / temperature)
    found = of(P).tempered(temperature).probabilities
    np.testing.assert_allclose(found, expected / expected.sum(), rtol=1e-12)


@pytest.mark.parametrize(
    ("settings", "kept"),
    [
        ({"top_k": 1}, [1]),
        ({"top_k": 3}, [1, 3, 4]),
        ({"top_k": 9}, [0, 1, 2, 3, 4]),
        ({"top_p": 1e-9}, [1]),
        ({"top_p": 0.39}, [1]),
        ({"top_p": 0.41}, [1, 3]),
        ({"top_p": 0.86}, [0, 1, 3, 4]),
        ({"top_p": 1.0}, [0, 1, 2, 3, 4]),
        # Of the two likeliest, whose share is 4 of 7.
        ({"top_k": 2, "top_p": 0.5}, [1]),
        ({"top_k": 2, "top_p": 0.6}, [1, 3]),
    ],
)
def test_only_the_likeliest_are_kept_in_their_proportions(settings, kept):
    expected = np.where(np.isin(np.arange(5), kept), P, 0)
    found = of(np.stack([P, P[::-1]])).truncated(**settings).probabilities
    np.testing.assert_allclose(found[0], expected / expected.sum(), rtol=1e-12)
    np.testing.assert_allclose(found[1], found[0][::-1], rtol=1e-12)


def test_of_equals_the_first_are_kept():
    found = of(np.full(4, 0.25)).truncated(top_k=2).probabilities
    np.testing.assert_allclose(found, [0.5, 0.5, 0, 0])


def test_a_number_gives_the_code_at_which_the_sum_reaches_it():
    bounds = np.cumsum(P)
    below, above = bounds[:-1] - 1e-9, bounds[:-1] + 1e-9
    distribution = Categorical(tf.constant(np.tile(np.log(P), (4, 1))))
    assert distribution.at(tf.constant(below)).numpy().tolist() == [0, 1, 2, 3]
    assert distribution.at(tf.constant(above)).numpy().tolist() == [1, 2, 3, 4]


@pytest.mark.parametrize(("uniform", "code"), [(1e-300, 1), (1.0, 3)])
def test_a_code_without_probability_is_never_drawn(uniform, code):
    distribution = of(P).truncated(top_k=2)
    assert int(distribution.at(tf.constant(uniform, tf.float64))) == code
