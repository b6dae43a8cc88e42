"""The SiLU with a shorter gradient against TensorFlow's own."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from vaeflow.kernels.silu import silu
from vaeflow.layers.base import run_chain

FEATURES = np.concatenate([[-200.0, -30.0, 0.0, 30.0, 200.0], np.random.default_rng(0).normal(0, 3, 40)])


def output_and_gradients(function, dtype):
    """The output, its gradient, and the gradient of that one's square."""
    features = tf.constant(FEATURES, dtype)
    with tf.GradientTape() as outer:
        outer.watch(features)
        with tf.GradientTape() as tape:
            tape.watch(features)
            output = function(features)
            loss = output**2
        gradient = tape.gradient(loss, features)
        penalty = tf.reduce_sum(gradient**2)
    return output, gradient, outer.gradient(penalty, features)


@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-12), ("float32", 1e-5), ("bfloat16", 0.05)])
@pytest.mark.parametrize("in_a_graph", [False, True])
def test_it_computes_what_tensorflow_does(dtype, tolerance, in_a_graph):
    def computed(function):
        def both():
            return output_and_gradients(function, dtype)

        return (tf.function(both) if in_a_graph else both)()

    for ours, theirs in zip(computed(silu), computed(tf.nn.silu), strict=True):
        assert ours.dtype == theirs.dtype
        ours, theirs = np.asarray(ours, np.float64), np.asarray(theirs, np.float64)
        np.testing.assert_allclose(ours, theirs, rtol=tolerance, atol=tolerance * np.abs(theirs).max())


def test_its_gradient_is_that_of_finite_differences():
    at, step = tf.constant(np.linspace(-6, 6, 25)), 1e-6
    with tf.GradientTape() as tape:
        tape.watch(at)
        output = silu(at)
    differences = (silu(at + step) - silu(at - step)) / (2 * step)
    np.testing.assert_allclose(tape.gradient(output, at), differences, rtol=1e-7, atol=1e-9)


def test_a_chain_takes_one_sigmoid_forward_and_none_backward():
    activation = keras.layers.Activation("silu")

    @tf.function
    def trained(features):
        with tf.GradientTape() as tape:
            tape.watch(features)
            output = run_chain([activation], features)
        return tape.gradient(output, features)

    graph = trained.get_concrete_function(tf.TensorSpec((2, 3))).graph
    kinds = [operation.type for operation in graph.get_operations()]
    assert kinds.count("Sigmoid") == 1
    assert kinds.count("Mul") == 3
