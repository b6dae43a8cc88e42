"""The nearest codes, and the rows of a codebook."""

import numpy as np
import pytest
import tensorflow as tf

from tests.fixtures.numpy_quantizers import brute_force
from vaeflow.layers.quantizers.nearest import looked_up, nearest_codes


@pytest.mark.parametrize(("shape", "num_codes"), [((2, 3, 4, 5), 17), ((6, 1), 1), ((2, 4, 3), 40)])
def test_the_nearest_codes_are_those_of_all_distances(shape, num_codes):
    rng = np.random.default_rng(1)
    vectors, codebook = rng.normal(size=shape), rng.normal(size=(num_codes, shape[-1]))
    found = nearest_codes(tf.constant(vectors), tf.constant(codebook))
    assert found.dtype == tf.int32
    np.testing.assert_array_equal(found, brute_force(vectors, codebook))


def test_far_from_0_single_precision_still_tells_codes_apart():
    """|e|² alone is 3e8 there, of which a float32 keeps 7 digits."""
    rng = np.random.default_rng(2)
    vectors, codebook = (1e4 + rng.normal(size=shape).astype(np.float32) for shape in ((50, 3), (20, 3)))
    found = nearest_codes(tf.constant(vectors), tf.constant(codebook)).numpy()
    distances = np.linalg.norm(vectors.astype(np.float64)[:, None] - codebook, axis=-1)
    chosen = np.take_along_axis(distances, found[:, None], axis=1)[:, 0]
    np.testing.assert_allclose(chosen, distances.min(axis=1), atol=5e-3)


def test_of_equally_near_codes_the_first_is_taken():
    codebook = tf.constant(2 * [[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]])
    vectors = tf.constant([[0.0, 0.0], [1.0, 0.0], [-0.5, -0.5], [0.0, 3.0]])
    np.testing.assert_array_equal(nearest_codes(vectors, codebook), [0, 0, 1, 2])


def test_the_gradient_of_rows_that_are_looked_up_is_added_to_each():
    rng = np.random.default_rng(3)
    codebook, weights = tf.constant(rng.normal(size=(5, 3))), rng.normal(size=(2, 4, 3))
    codes = rng.integers(0, 4, (2, 4)).astype(np.int32)
    with tf.GradientTape() as tape:
        tape.watch(codebook)
        rows = looked_up(codebook, tf.constant(codes))
        total = tf.reduce_sum(weights * rows)
    np.testing.assert_array_equal(rows, codebook.numpy()[codes])
    expected = np.zeros((5, 3))
    np.add.at(expected, codes, weights)
    np.testing.assert_allclose(tape.gradient(total, codebook), expected, rtol=1e-12)
