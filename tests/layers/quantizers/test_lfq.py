"""Lookup-free quantization, from section 3.1 of arXiv:2310.05737, by enumeration of all codes."""

import itertools

import numpy as np
import pytest
import tensorflow as tf

from vaeflow.errors import ConfigurationError
from vaeflow.layers import LFQ
from vaeflow.models.passes import Draw

BITS = 5
# The first bit changes fastest.
CODES = np.array([each[::-1] for each in itertools.product((-1.0, 1.0), repeat=BITS)])


def made(**arguments):
    posterior = LFQ(4, **{"num_bits": BITS, "dtype": "float64", "temperature": 0.7} | arguments)
    posterior.build((None, 2, 3, 6))
    return posterior


def vectors(seed=0):
    return np.random.default_rng(seed).normal(size=(4, 2, 3, BITS))


def terms_of(posterior, values):
    distribution = posterior.distribution(values)
    return posterior.terms(Draw(distribution.center, lambda: None, distribution), 0)


def probabilities(values, temperature=0.7):
    """q(c|z) of every code, `[…, 2^d]`."""
    negative = -((values[..., None, :] - CODES) ** 2).sum(axis=-1) / temperature
    weights = np.exp(negative - negative.max(axis=-1, keepdims=True))
    return weights / weights.sum(axis=-1, keepdims=True)


def entropy(of):
    return -np.sum(of * np.log(of), axis=-1)


def test_the_code_is_made_of_the_signs():
    posterior = made()
    distribution = posterior.distribution(tf.constant(vectors()))
    np.testing.assert_array_equal(CODES[distribution.codes.numpy()[..., 0]], np.where(vectors() > 0, 1, -1))
    np.testing.assert_array_equal(distribution.embeddings[..., 0, :], np.sign(vectors()))
    np.testing.assert_array_equal(posterior.embed_codes(distribution.codes), distribution.center)
    np.testing.assert_array_equal(posterior.quantized(tf.zeros((1, 1, 1, BITS), tf.float64)).codes, [[[[0]]]])
    assert posterior.code_sizes == (32,)


def test_the_terms_are_those_of_an_enumeration_of_all_codes():
    terms = terms_of(made(entropy_weight=0.3, commitment_weight=0.2), tf.constant(vectors()))
    each = probabilities(vectors())
    np.testing.assert_allclose(terms["code_entropy"].value, entropy(each).mean(axis=(1, 2)), rtol=1e-12)
    np.testing.assert_allclose(
        terms["mean_code_entropy"].value, entropy(each.mean(axis=(0, 1, 2))), rtol=1e-12
    )
    squared = ((vectors() - np.sign(vectors())) ** 2).sum(axis=-1)
    np.testing.assert_allclose(terms["commitment_loss"].value, squared.mean(axis=(1, 2)), rtol=1e-12)
    assert [float(terms[name].weight) for name in terms] == [0.2, 0.3, -0.3]


def test_the_entropy_of_some_bits_at_a_time_is_an_upper_bound():
    found = terms_of(made(entropy_bits=2), tf.constant(vectors()))["mean_code_entropy"].value
    mean = probabilities(vectors()).mean(axis=(0, 1, 2)).reshape((2,) * BITS)
    # Bits 0 and 1, 2 and 3, and 4: the axes in reverse.
    marginals = [mean.sum(axis=axes).ravel() for axes in ((0, 1, 2), (0, 3, 4), (1, 2, 3, 4))]
    np.testing.assert_allclose(found, sum(entropy(each) for each in marginals), rtol=1e-12)
    assert found > entropy(mean.ravel())


@pytest.mark.slow
def test_their_gradients_are_those_of_differences():
    posterior, values = made(), vectors()
    with tf.GradientTape(persistent=True) as tape:
        point = tf.constant(values)
        tape.watch(point)
        terms = terms_of(posterior, point)
        totals = {name: tf.reduce_sum(terms[name].value) for name in ("code_entropy", "mean_code_entropy")}
    for name, total in totals.items():
        gradient = tape.gradient(total, point).numpy()
        for index in ((0, 0, 0, 0), (2, 1, 2, 4), (3, 0, 1, 2)):
            moved = np.zeros_like(values)
            moved[index] = 1e-6
            ends = [
                float(tf.reduce_sum(terms_of(posterior, point + way)[name].value)) for way in (moved, -moved)
            ]
            assert (ends[0] - ends[1]) / 2e-6 == pytest.approx(gradient[index], rel=1e-6, abs=1e-9)


def test_certain_codes_have_finite_terms_and_gradients():
    point = tf.constant(100.0 * vectors(), tf.float32)
    posterior = made(dtype="float32", temperature=0.01)
    with tf.GradientTape() as tape:
        tape.watch(point)
        terms = terms_of(posterior, point)
        total = tf.add_n([tf.reduce_sum(term.value) for term in terms.values()])
    np.testing.assert_allclose(terms["code_entropy"].value, 0, atol=1e-6)
    assert np.all(np.isfinite(tape.gradient(total, point)))


def test_without_a_weight_nothing_couples_the_batch():
    assert terms_of(made(entropy_weight=0.0), tf.constant(vectors())).keys() == {"commitment_loss"}


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("num_bits", 0),
        ("commitment_weight", -1),
        ("entropy_weight", -1),
        ("temperature", 0),
        ("entropy_bits", 0),
    ],
)
def test_a_faulty_setting_is_refused(setting, value):
    with pytest.raises(ValueError, match=f"`LFQ.{setting}` must be"):
        LFQ(**{setting: value})


def test_more_codes_than_can_be_counted_are_refused():
    assert LFQ(num_bits=20).code_sizes == (2**20,)
    with pytest.raises(ConfigurationError, match=r"`LFQ.num_bits` must be at most 20, got 21"):
        LFQ(num_bits=21)
