"""The faster up-sampling against Keras' own."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from vaeflow.kernels.up_sampling import UpSampling2D


def output_and_gradients(layer, images, upstream):
    """The output, the gradient with respect to the images, and the gradient of its sum of cubes."""
    with tf.GradientTape() as outer:
        outer.watch(images)
        with tf.GradientTape() as inner:
            inner.watch(images)
            output = layer(images)
            loss = tf.reduce_sum(tf.cast(upstream, output.dtype) * output**2)
        first = inner.gradient(loss, images)
        penalty = tf.reduce_sum(first**3)
    return output, first, outer.gradient(penalty, images)


@pytest.mark.parametrize(
    ("dtype", "tolerance"), [("float64", 1e-12), ("float32", 1e-5), ("bfloat16", 0.05), ("float16", 0.01)]
)
def test_it_computes_what_keras_does(dtype, tolerance):
    generator = np.random.default_rng(0)
    images = tf.constant(generator.normal(size=(3, 5, 4, 6)), dtype)
    upstream = tf.constant(generator.normal(size=(3, 10, 8, 6)), dtype)
    ours = output_and_gradients(UpSampling2D(2, dtype=dtype), images, upstream)
    keras_own = output_and_gradients(keras.layers.UpSampling2D(2, dtype=dtype), images, upstream)
    np.testing.assert_array_equal(ours[0], keras_own[0])
    for each, expected in zip(ours[1:], keras_own[1:], strict=True):
        scale = np.abs(np.asarray(expected, np.float64)).max()
        np.testing.assert_allclose(
            tf.cast(each, tf.float64), tf.cast(expected, tf.float64), atol=tolerance * scale
        )


@pytest.mark.parametrize(
    "arguments",
    [{"size": 3}, {"size": (2, 1)}, {"interpolation": "bilinear"}, {"data_format": "channels_first"}],
)
def test_other_settings_are_left_to_keras(arguments):
    images = tf.random.normal((2, 4, 3, 4))
    expected = keras.layers.UpSampling2D(**arguments)(images)
    np.testing.assert_array_equal(UpSampling2D(**arguments)(images), expected)


def test_images_of_any_size():
    doubled = tf.function(UpSampling2D(2), input_signature=[tf.TensorSpec((None, None, None, 1))])
    np.testing.assert_array_equal(
        doubled(tf.constant([[[[1.0], [2.0]]]]))[0, :, :, 0], [[1, 1, 2, 2], [1, 1, 2, 2]]
    )
