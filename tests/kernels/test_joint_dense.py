"""Joint dense layers against the layers called one by one."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from vaeflow.kernels.joint_dense import joint_dense


@pytest.fixture
def layers():
    """Three dense layers of 4 units, built for 5 features."""
    made = [keras.layers.Dense(4, bias_initializer="random_normal", dtype="float64") for _ in range(3)]
    for layer in made:
        layer.build((None, 5))
    return made


@pytest.fixture
def features():
    return tf.constant(np.random.default_rng(0).normal(size=(6, 5)))


def test_it_equals_the_layers_one_by_one(layers, features):
    outputs = joint_dense(features, *layers)
    for ours, layer in zip(outputs, layers, strict=True):
        np.testing.assert_allclose(ours, layer(features), atol=1e-14)


def test_its_gradients_are_those_of_the_layers_one_by_one(layers, features):
    variables = [variable.value for layer in layers for variable in layer.trainable_variables]
    with tf.GradientTape(persistent=True) as tape:
        joint = tf.add_n([tf.reduce_sum(output**2) for output in joint_dense(features, *layers)])
        separate = tf.add_n([tf.reduce_sum(layer(features) ** 2) for layer in layers])
    pairs = zip(tape.gradient(joint, variables), tape.gradient(separate, variables), strict=True)
    for ours, expected in pairs:
        np.testing.assert_allclose(ours, expected, atol=1e-12)


def test_it_is_one_matrix_product(layers, features):
    graph = tf.function(lambda: joint_dense(features, *layers)).get_concrete_function().graph
    assert [operation.type for operation in graph.get_operations()].count("MatMul") == 1
