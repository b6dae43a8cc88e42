"""The one-pass Adam against the paper, and against Keras where it leaves the work to it."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from vaeflow.kernels.adam import Adam, AdamW

BETAS = {"beta_1": 0.5, "beta_2": 0.9, "epsilon": 1e-3}


def numpy_adam(gradients, weights, rate, decay=0.0, beta_1=0.9, beta_2=0.999, epsilon=1e-7):
    """Kingma & Ba 2015, Algorithm 1 with the order of section 2; decay as in Loshchilov & Hutter 2019."""
    mean, square = np.zeros_like(weights), np.zeros_like(weights)
    for step, gradient in enumerate(gradients, 1):
        weights = weights - rate * decay * weights
        mean = beta_1 * mean + (1 - beta_1) * gradient
        square = beta_2 * square + (1 - beta_2) * gradient**2
        corrected = rate * np.sqrt(1 - beta_2**step) / (1 - beta_1**step)
        weights = weights - corrected * mean / (np.sqrt(square) + epsilon)
    return weights


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-5), ("float64", 1e-12)])
@pytest.mark.parametrize(
    ("kind", "arguments", "twin"),
    [
        (Adam, {}, {}),
        (Adam, BETAS, BETAS),
        (AdamW, {"weight_decay": 0.125}, {"decay": 0.125}),
    ],
)
def test_one_pass_of_adam_is_that_of_the_paper(kind, arguments, twin, dtype, tolerance):
    generator = np.random.default_rng(0)
    weights, gradients = generator.normal(size=(3, 2)), generator.normal(size=(5, 3, 2))
    variable, optimizer = keras.Variable(weights, dtype=dtype), kind(0.0625, **arguments)
    optimizer.build([variable])
    for gradient in gradients:
        optimizer.apply([tf.constant(gradient, dtype)])
    expected = numpy_adam(gradients, weights, 0.0625, **twin)
    np.testing.assert_allclose(variable.numpy(), expected, rtol=tolerance)


def test_amsgrad_is_left_to_keras():
    results = []
    for kind in (Adam, keras.optimizers.Adam):
        variable, optimizer = keras.Variable([1.0, 2.0]), kind(0.1, amsgrad=True)
        optimizer.build([variable])
        for gradient in ([3.0, 1.0], [0.1, -0.2]):
            optimizer.apply([tf.constant(gradient)])
        results.append(variable.numpy())
    np.testing.assert_array_equal(*results)


def test_one_pass_is_taken():
    """Keras' own way would pass the test above too."""
    variable, optimizer = keras.Variable([1.0, 2.0]), Adam(0.1)
    optimizer.build([variable])
    graph = tf.function(lambda: optimizer.apply([tf.constant([1.0, 1.0])])).get_concrete_function().graph
    assert [op.type for op in graph.get_operations()].count("ResourceApplyAdam") == 1


def test_the_powers_of_beta_are_computed_once_for_all_variables():
    variables, optimizer = [keras.Variable([1.0, 2.0]) for _ in range(3)], Adam(0.1)
    optimizer.build(variables)
    gradients = [tf.constant([1.0, 1.0])] * 3
    graph = tf.function(lambda: optimizer.apply(gradients)).get_concrete_function().graph
    assert [op.type for op in graph.get_operations()].count("Pow") == 2
