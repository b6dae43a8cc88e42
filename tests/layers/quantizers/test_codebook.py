"""Codes that begin anew, and what an average of the weights holds, written out in NumPy."""

import itertools

import numpy as np
import pytest
import tensorflow as tf

from tests.fixtures.numpy_noise import uniforms_by_hand
from tests.fixtures.numpy_quantizers import brute_force
from vaeflow import random
from vaeflow.layers.quantizers.codebook import Codebook

DECAY, EPSILON, BELOW, COUNT = 0.8, 0.01, 0.5, 9


def made(update="ema", distance="euclidean", restart_below=BELOW):
    codebook = Codebook(COUNT, update, distance, DECAY, EPSILON, 0.1, restart_below, dtype="float64")
    codebook.build((None, 3))
    return codebook


def vectors_of(step):
    """Six examples with four vectors each; few of the codes are near them."""
    return 1.0 + np.random.default_rng(step).normal(size=(6, 4, 3))


def step_of(codebook, step, edges=(0, 6)):
    """Takes a step of a batch that is cut at `edges`; returns its codes and what was drawn."""
    vectors = vectors_of(step)
    codes = codebook.nearest(codebook.compared(tf.constant(vectors))).numpy()
    parts = []
    for first, last in itertools.pairwise(edges):
        with random.keyed(1, "train", step, first, batch_size=6):
            compared = codebook.compared(tf.constant(vectors[first:last]))
            parts.append(codebook.statistics(compared, tf.constant(codes[first:last])))
    sums = tf.nest.map_structure(lambda *values: tf.add_n(values), *parts)
    for variable, value in codebook.new_values(sums):
        variable.assign(value)
    return codes, sums["drawn"].numpy()


def drawn_by_hand(vectors, step):
    noise = uniforms_by_hand(COUNT, 1, "1/train/0", step, 0)[:, 0]
    return vectors.reshape(-1, 3)[np.ceil(noise * 24).astype(int) - 1]


def test_a_dead_code_begins_anew_at_a_vector_that_is_drawn_from_the_batch():
    """Appendix A.1 of arXiv:1711.00937, and the random restarts of arXiv:2005.00341, section 3.1."""
    codebook = made()
    values = codebook.codebook.numpy()
    counts, sums, restarted = np.ones(COUNT), values.copy(), 0
    for step in range(5):
        vectors = vectors_of(step)
        codes = brute_force(vectors, values)
        chosen = np.eye(COUNT)[codes.ravel()]
        counts = DECAY * counts + (1 - DECAY) * chosen.sum(axis=0)
        sums = DECAY * sums + (1 - DECAY) * chosen.T @ vectors.reshape(-1, 3)
        total, drawn = counts.sum(), drawn_by_hand(vectors, step)
        values = sums / ((counts + EPSILON) / (total + COUNT * EPSILON) * total)[:, None]
        for code in np.flatnonzero(counts < BELOW * total / COUNT):
            restarted += 1
            counts[code] = 2 * BELOW * total / COUNT
            sums[code], values[code] = counts[code] * drawn[code], drawn[code]
        step_of(codebook, step)
        for variable, expected in (
            (codebook.counts, counts),
            (codebook.sums, sums),
            (codebook.codebook, values),
        ):
            np.testing.assert_allclose(variable, expected, rtol=1e-12)
    assert restarted > 3


def test_of_a_trained_codebook_what_moves_a_code_is_added_to_it():
    codebook = made("gradient")
    trained, moved, counts = codebook.codebook.numpy(), np.zeros((COUNT, 3)), np.ones(COUNT)
    for step in range(5):
        vectors = vectors_of(step)
        chosen = np.eye(COUNT)[brute_force(vectors, trained + moved).ravel()]
        counts = DECAY * counts + (1 - DECAY) * chosen.sum(axis=0)
        dead = counts < BELOW * counts.sum() / COUNT
        moved[dead] = (drawn_by_hand(vectors, step) - trained)[dead]
        counts[dead] = 2 * BELOW * counts.sum() / COUNT
        step_of(codebook, step)
        np.testing.assert_allclose(codebook.embeddings(), trained + moved, rtol=1e-12)
        np.testing.assert_allclose(codebook.counts, counts, rtol=1e-12)
    assert np.any(moved)
    np.testing.assert_array_equal(codebook.codebook, trained)
    assert [variable.name for variable in codebook.averaged_with] == ["moved"]


@pytest.mark.slow
@pytest.mark.parametrize(("update", "distance"), [("ema", "euclidean"), ("gradient", "cosine")])
def test_however_the_batch_is_cut_the_same_codes_begin_anew_at_the_same_vectors(update, distance):
    whole, cut, single = (made(update, distance) for _ in range(3))
    for other in (cut, single):
        for variable, value in zip(other.variables, whole.variables, strict=True):
            variable.assign(value)
    for step in range(5):
        _, drawn = step_of(whole, step)
        np.testing.assert_array_equal(step_of(cut, step, (0, 2, 6))[1], drawn)
        np.testing.assert_array_equal(step_of(single, step, range(7))[1], drawn)
    for other in (cut, single):
        for variable, value in zip(other.variables, whole.variables, strict=True):
            np.testing.assert_allclose(variable, value, rtol=1e-12)


def test_without_restarts_no_vectors_are_drawn():
    codebook = made(restart_below=0.0)
    assert codebook.statistics(tf.ones((2, 3, 3), tf.float64), tf.zeros((2, 3), tf.int32)).keys() == {
        "counts",
        "sums",
    }
    assert [variable.name for variable in codebook.variables] == ["counts", "sums", "codebook"]
