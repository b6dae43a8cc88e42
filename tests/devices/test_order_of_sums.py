"""Sums of three and more tensors, whose order TensorFlow would choose by what memory is free."""

import numpy as np
import pytest
import tensorflow as tf

from vaeflow.devices import graph_rewrites

# In single precision 1e8 + 1 is 1e8, so the sum is 1 from the left, and 0 from the right.
VALUES = (1e8, -1e8, 1.0)


def summed(values, kept):
    """Adds tensors of these values in a graph that needs the first `kept` of them afterwards too."""

    @tf.function(autograph=False)
    def compute(tensors, one):
        tensors = [tensor * one for tensor in tensors]
        return tf.add_n(tensors), tensors[:kept]

    return compute([tf.fill((100,), value) for value in values], tf.ones(()))[0].numpy()


def gradient_of_three_uses(kept):
    """The gradient of what is used in three places, in a graph that needs two of its parts afterwards too."""

    @tf.function(autograph=False)
    def compute(value):
        with tf.GradientTape(persistent=True) as tape:
            tape.watch(value)
            uses = [tf.identity(value) for _ in VALUES]
        upstream = [number * value for number in VALUES]
        return tape.gradient(uses, value, upstream), upstream[:kept]

    return compute(tf.ones((100,)))[0].numpy()


@pytest.fixture
def fixed():
    """Without TensorFlow's own optimization, which makes AddN of additions."""
    graph_rewrites.choose()


@pytest.mark.parametrize("kept", [0, 1, 2, 3])
def test_the_order_does_not_depend_on_what_memory_is_free(fixed, kept):
    """With TensorFlow's own `add_n` it is 0 for `kept` = 2."""
    np.testing.assert_array_equal(summed(VALUES, kept), 1.0)
    np.testing.assert_array_equal(summed(VALUES[::-1], kept), 0.0)


def test_the_gradient_of_what_is_used_three_times_has_one_order(fixed):
    found = {gradient_of_three_uses(kept).tobytes() for kept in range(4)}
    assert len(found) == 1


def test_no_operation_adds_three_tensors(fixed):
    @tf.function(autograph=False)
    def compute(value):
        with tf.GradientTape() as tape:
            tape.watch(value)
            total = tf.add_n([value, value**2, value**3, value**4])
        return tape.gradient(total, value)

    concrete = compute.get_concrete_function(tf.TensorSpec((3,), tf.float64))
    sums = [each for each in concrete.graph.get_operations() if each.type == "AddN"]
    assert all(len(each.inputs) == 2 for each in sums)
    value = np.array([1.0, 2.0, -3.0])
    np.testing.assert_allclose(concrete(tf.constant(value)), 1 + 2 * value + 3 * value**2 + 4 * value**3)


def test_lists_of_tensors_are_still_added(fixed):
    """As the gradient of a loop adds them."""

    @tf.function(autograph=False)
    def gradient(value):
        with tf.GradientTape() as tape:
            tape.watch(value)
            array = tf.TensorArray(tf.float32, 2).unstack(value)
            total = sum(array.stack() ** power for power in (1, 2, 3))
        return tape.gradient(total, value)

    value = np.array([2.0, 3.0], np.float32)
    np.testing.assert_allclose(gradient(tf.constant(value)), 1 + 2 * value + 3 * value**2)
