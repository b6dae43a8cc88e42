"""The faster group normalization against Keras' own."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from vaeflow.kernels.group_normalization import GroupNormalization


def output_and_gradients(kind, images, upstream, dtype):
    """The output, and the gradients with respect to the images, gamma and beta."""
    layer = kind(groups=2, dtype=dtype)
    layer.build(images.shape)
    generator = np.random.default_rng(1)
    layer.set_weights([generator.normal(size=6), generator.normal(size=6)])
    images = tf.constant(images, dtype)
    variables = [variable.value for variable in layer.trainable_variables]
    with tf.GradientTape() as tape:
        tape.watch(images)
        output = layer(images)
    gradients = tape.gradient(output, [images, *variables], tf.constant(upstream, output.dtype))
    return [np.asarray(each) for each in (output, *gradients)]


@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-12), ("float32", 2e-5)])
@pytest.mark.parametrize("mean", [0.0, 100.0])
def test_it_computes_what_keras_does(dtype, tolerance, mean):
    generator = np.random.default_rng(0)
    images, upstream = generator.normal(mean, size=(3, 5, 4, 6)), generator.normal(size=(3, 5, 4, 6))
    ours = output_and_gradients(GroupNormalization, images, upstream, dtype)
    exact = output_and_gradients(keras.layers.GroupNormalization, images, upstream, "float64")
    # Around 100 a float32 itself is known to 4e-6 only.
    tolerance *= 10 if mean and dtype == "float32" else 1
    for each, expected in zip(ours, exact, strict=True):
        np.testing.assert_allclose(each, expected, rtol=tolerance, atol=tolerance)


def test_mixed_precision_normalizes_in_float32():
    layer = GroupNormalization(groups=2, dtype="mixed_bfloat16")
    layer.build((None, 2, 2, 4))
    images = tf.cast(tf.random.normal((3, 2, 2, 4)) + 50, tf.bfloat16)
    expected = keras.layers.GroupNormalization(groups=2)(tf.cast(images, tf.float32))
    output = layer(images)
    assert output.dtype == tf.bfloat16
    np.testing.assert_allclose(tf.cast(output, tf.float32), expected, atol=0.02)


@pytest.mark.parametrize("arguments", [{"center": False}, {"scale": False}, {"axis": 1}])
def test_other_settings_are_left_to_keras(arguments):
    images = tf.random.normal((2, 4, 3, 4))
    expected = keras.layers.GroupNormalization(groups=2, **arguments)(images)
    np.testing.assert_array_equal(GroupNormalization(groups=2, **arguments)(images), expected)
