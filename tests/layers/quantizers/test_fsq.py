"""Finite scalar quantization, from section 3 and the appendix of arXiv:2309.15505."""

import itertools

import numpy as np
import pytest
import tensorflow as tf

from vaeflow.errors import ConfigurationError
from vaeflow.layers import FSQ

LEVELS = (8, 5, 3)


def made(levels=LEVELS, **arguments):
    posterior = FSQ(4, levels, **{"dtype": "float64"} | arguments)
    posterior.build((None, 2, 3, 6))
    return posterior


def by_hand(vectors, levels=LEVELS):
    """What the decoder sees of each number, and the code of each vector."""
    values, code, basis = [], 0, 1
    for number, count in zip(np.moveaxis(vectors, -1, 0), levels, strict=True):
        reach, offset = (count - 1) * (1 - 1e-3) / 2, 0.0 if count % 2 else 0.5
        bounded = np.tanh(number + np.arctanh(offset / reach)) * reach - offset
        level = np.round(bounded)
        values.append(level / (count // 2))
        code = code + basis * (level + count // 2)
        basis *= count
    return np.stack(values, axis=-1), code.astype(int)


def wide(shape, seed=0):
    return np.random.default_rng(seed).uniform(-4, 4, shape)


def test_each_number_is_rounded_to_one_of_its_levels():
    posterior, vectors = made(), wide((50, 2, 3, 3))
    found = posterior.quantized(tf.constant(vectors))
    values, codes = by_hand(vectors)
    np.testing.assert_allclose(found.embeddings[..., 0, :], values, rtol=1e-15)
    np.testing.assert_array_equal(found.codes[..., 0], codes)
    assert [len(np.unique(values[..., number])) for number in range(3)] == list(LEVELS)
    assert np.abs(values).max() <= 1
    assert found.codes.dtype == tf.int32
    assert posterior.code_sizes == (120,)


def test_every_code_stands_for_its_own_levels():
    posterior = made()
    values = posterior.embeddings_of(tf.range(120)[:, None]).numpy()[:, 0]
    grids = [(np.arange(count) - count // 2) / (count // 2) for count in LEVELS]
    # The first number changes fastest.
    expected = [tuple(reversed(each)) for each in itertools.product(*reversed(grids))]
    np.testing.assert_allclose(values, expected, rtol=1e-15)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_the_decoder_sees_the_same_of_vectors_and_of_their_codes(dtype):
    posterior = made(dtype=dtype)
    distribution = posterior.distribution(tf.constant(wide((5, 2, 3, 3)), dtype))
    np.testing.assert_array_equal(posterior.embed_codes(distribution.codes), distribution.center)
    assert distribution.center.shape == (5, 2, 3, 4)


def test_zero_is_in_the_middle():
    """Of an even number of levels the one above the middle; without the shift f(0) would be between two."""
    np.testing.assert_allclose(made()._bound(tf.zeros((1, 3), tf.float64)), np.zeros((1, 3)), atol=1e-15)


def test_the_gradient_goes_straight_through_the_rounding_and_not_through_the_bound():
    posterior, vectors = made(), tf.constant(wide((2, 2, 3, 3), 1))
    weights = np.random.default_rng(2).normal(size=(2, 2, 3, 4))
    with tf.GradientTape() as tape:
        tape.watch(vectors)
        loss = tf.reduce_sum(weights * posterior.distribution(vectors).draw()[0])
    counts = np.array(LEVELS)
    reach, offset = (counts - 1) * (1 - 1e-3) / 2, np.where(counts % 2, 0, 0.5)
    slope = reach * (1 - np.tanh(vectors + np.arctanh(offset / reach)) ** 2) / (counts // 2)
    expected = slope * (weights @ posterior.expansion.kernel.numpy().T)
    np.testing.assert_allclose(tape.gradient(loss, vectors), expected, rtol=1e-10, atol=1e-14)


def test_saturated_numbers_take_the_outermost_levels_in_single_precision():
    posterior = made(dtype="float32")
    found = posterior.quantized(tf.constant([[[[1e4, 1e4, 1e4]]], [[[-1e4, -1e4, -1e4]]]], tf.float32))
    np.testing.assert_array_equal(found.codes[:, 0, 0, 0], [119, 0])


@pytest.mark.parametrize("levels", [(), (2, 5), (8, 0), (8, 5.5), "85"])
def test_faulty_levels_are_refused(levels):
    with pytest.raises(ValueError, match=r"`FSQ.levels` must be"):
        FSQ(4, levels)


def test_more_codes_than_can_be_counted_are_refused():
    with pytest.raises(
        ConfigurationError, match=r"`FSQ.levels` must make at most 1,048,576 codes, got 2,097,152"
    ):
        FSQ(4, (8,) * 7)
