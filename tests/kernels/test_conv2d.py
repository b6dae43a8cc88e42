"""The faster convolution of one channel against Keras' own."""

import functools

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.fixtures.layer_gradients import assert_close, output_and_gradients
from tests.fixtures.noted_calls import noting
from vaeflow.kernels import conv2d
from vaeflow.kernels.conv2d import Conv2D

ARGUMENTS = {"filters": 5, "kernel_size": 4, "strides": 2, "padding": "same"}


@pytest.mark.parametrize(
    ("dtype", "tolerance"), [("float64", 1e-12), ("float32", 1e-5), ("mixed_bfloat16", 0.02)]
)
@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"kernel_size": 2, "activation": "relu"},
        {"kernel_size": 6, "strides": 3, "use_bias": False},
        {"kernel_size": 3, "strides": 1},
    ],
)
def test_it_computes_what_keras_does(arguments, dtype, tolerance, monkeypatch):
    images = np.random.default_rng(0).normal(size=(2, 6, 12, 1))
    arguments = ARGUMENTS | arguments
    expected = output_and_gradients(keras.layers.Conv2D, arguments, images, dtype)
    monkeypatch.setattr(conv2d, "patches_of", noting(conv2d.patches_of, calls := [], lambda *given: 1))
    found = output_and_gradients(Conv2D, arguments, images, dtype, training=True)
    assert [each.dtype for each in found] == [each.dtype for each in expected]
    assert_close(found, expected, tolerance)
    assert calls  # Keras' own way would pass too.


@pytest.mark.parametrize(
    ("shape", "training", "arguments"),
    [
        ((2, 6, 8, 1), False, {}),
        ((2, 6, 8, 1), None, {}),
        ((2, 6, 8, 2), True, {}),
        ((2, 6, 7, 1), True, {}),
        ((2, 6, 8, 1), True, {"kernel_size": 3}),
        ((2, 6, 8, 1), True, {"padding": "valid"}),
    ],
)
def test_the_rest_is_left_to_keras(shape, training, arguments, monkeypatch):
    monkeypatch.setattr(conv2d, "patches_of", None)
    images, arguments = np.random.default_rng(0).normal(size=shape), ARGUMENTS | arguments
    expected = output_and_gradients(keras.layers.Conv2D, arguments, images, "float32")
    found = output_and_gradients(Conv2D, arguments, images, "float32", training=training)
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("shape", [(None, 6, 8, 1), (None, None, None, 1)])
def test_unknown_sizes(shape, training):
    layer = Conv2D(**ARGUMENTS)
    layer.build(shape)
    call = tf.function(functools.partial(layer, training=training), input_signature=[tf.TensorSpec(shape)])
    images = tf.random.normal((2, 6, 8, 1))
    np.testing.assert_allclose(call(images), layer(images), rtol=1e-5, atol=1e-6)
