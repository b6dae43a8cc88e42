"""The norm of gradients, of which the small ones are laid end to end."""

import numpy as np
import pytest
import tensorflow as tf

from vaeflow.kernels.global_norm import global_norm

SHAPES = [(3,), (70, 80), (), (4096,), (4097,), (1, 2, 3)]


@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-14), ("float32", 1e-6)])
@pytest.mark.parametrize("shapes", [SHAPES, SHAPES[:1], SHAPES[1:2], []])
def test_it_is_the_root_of_the_sum_of_squares(dtype, tolerance, shapes):
    generator = np.random.default_rng(0)
    gradients = [generator.normal(size=shape) for shape in shapes]
    expected = np.sqrt(sum(np.sum(gradient**2) for gradient in gradients))
    found = global_norm([tf.constant(gradient, dtype) for gradient in gradients])
    np.testing.assert_allclose(found, expected, rtol=tolerance)


def test_slices_count_as_their_values():
    slices = tf.IndexedSlices(tf.constant([[3.0, 0.0]]), tf.constant([7]), tf.constant([9, 2]))
    assert global_norm([slices, tf.constant([4.0])]) == 5


def test_shapes_may_be_unknown_and_what_is_not_finite_shows():
    norm = tf.function(global_norm, input_signature=[[tf.TensorSpec(None), tf.TensorSpec((2,))]])
    assert norm([tf.constant([[2.0]]), tf.constant([2.0, 1.0])]) == 3
    assert np.isnan(norm([tf.constant([[2.0]]), tf.constant([np.nan, 1.0])]))


def test_small_gradients_take_one_operation():
    norm = tf.function(global_norm).get_concrete_function([tf.TensorSpec(shape) for shape in SHAPES])
    kinds = [operation.type for operation in norm.graph.get_operations()]
    assert kinds.count("L2Loss") == 3
