"""The classifier with a shared backward pass against Keras' layers, called one by one."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from vaeflow.kernels.shared_backward import classify

_UNITS = (7, 6, 5)


def make_layers(policy="float64", units=_UNITS):
    """Returns hidden layers and that of the logit, built for 4 features."""
    keras.utils.set_random_seed(0)
    hidden = [keras.layers.Dense(width, bias_initializer="random_normal", dtype=policy) for width in units]
    logit = keras.layers.Dense(1, bias_initializer="random_normal", dtype=hidden[0].variable_dtype)
    for layer, width in zip((*hidden, logit), (4, *units), strict=True):
        layer.build((None, width))
    return hidden, logit


def examples(dtype="float64"):
    return tf.constant(np.random.default_rng(1).normal(size=(9, 4)), dtype)


def one_by_one(values, hidden, logit):
    for layer in hidden:
        values = keras.activations.leaky_relu(layer(values), 0.2)
    return logit(values)[:, 0]


def losses(logits):
    """Returns two losses, one of which does not depend on the last examples."""
    return tf.reduce_sum(logits[:5] ** 2), tf.reduce_sum(tf.nn.softplus(-logits))


def outputs_and_gradients(function, values, layers):
    variables = [variable.value for layer in layers for variable in layer.trainable_variables]
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(values)
        logits = function(values)
        both = losses(logits)
    return [logits, *(each for loss in both for each in tape.gradient(loss, [values, *variables]))]


@pytest.mark.parametrize("units", [_UNITS, (3,)])
def test_logits_and_gradients_of_two_losses_are_those_of_the_layers(units):
    hidden, logit = make_layers(units=units)
    found = outputs_and_gradients(
        lambda values: classify(values, hidden, logit, 0.2, "float64"), examples(), (*hidden, logit)
    )
    expected = outputs_and_gradients(
        lambda values: one_by_one(values, hidden, logit), examples(), (*hidden, logit)
    )
    assert len(found) == 1 + 2 * (1 + 2 * (len(units) + 1))
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-12, atol=1e-14)


def test_hidden_layers_in_bfloat16_are_those_of_mixed_precision():
    hidden, logit = make_layers("mixed_bfloat16")
    found = outputs_and_gradients(
        lambda values: classify(values, hidden, logit, 0.2, "bfloat16"), examples("float32"), (*hidden, logit)
    )
    expected = outputs_and_gradients(
        lambda values: one_by_one(values, hidden, logit), examples("float32"), (*hidden, logit)
    )
    assert {each.dtype for each in found} == {tf.float32}
    np.testing.assert_array_equal(found[0], expected[0])
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=0.02 * np.abs(theirs).max())


def test_both_losses_take_one_backward_pass():
    hidden, logit = make_layers()

    @tf.function
    def both(values):
        return outputs_and_gradients(
            lambda values: classify(values, hidden, logit, 0.2, "float64"), values, (*hidden, logit)
        )

    graph = both.get_concrete_function(examples()).graph
    products = sum(operation.type == "MatMul" for operation in graph.get_operations())
    forward, backward, of_weights = 4, 3, 2 * 4
    assert products == forward + backward + of_weights
