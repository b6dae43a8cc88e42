"""The faster transposed convolution against Keras' own."""

import functools

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.fixtures.layer_gradients import assert_close, output_and_gradients
from tests.fixtures.noted_calls import noting
from vaeflow.kernels import conv2d_transpose
from vaeflow.kernels.conv2d_transpose import Conv2DTranspose


@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-12), ("float32", 1e-5)])
@pytest.mark.parametrize(
    "arguments",
    [
        {"filters": 1, "kernel_size": 4, "strides": 2},
        {"filters": 3, "kernel_size": 2, "strides": 2, "activation": "relu"},
        {"filters": 2, "kernel_size": 6, "strides": 3, "use_bias": False},
        {"filters": 2, "kernel_size": 6, "strides": 2},
    ],
)
def test_it_computes_what_keras_does(arguments, dtype, tolerance, monkeypatch):
    images = np.random.default_rng(0).normal(size=(2, 3, 5, 7))
    arguments = arguments | {"padding": "same"}
    expected = output_and_gradients(keras.layers.Conv2DTranspose, arguments, images, "float64")
    fast_way = noting(conv2d_transpose._by_depth_to_space, calls := [], lambda *given: 1)
    monkeypatch.setattr(conv2d_transpose, "_by_depth_to_space", fast_way)
    assert_close(output_and_gradients(Conv2DTranspose, arguments, images, dtype), expected, tolerance)
    assert calls  # Keras' own way would pass too.


@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-12), ("float32", 1e-5)])
@pytest.mark.parametrize("arguments", [{"kernel_size": 4, "strides": 2}, {"kernel_size": 9, "strides": 3}])
def test_in_training_it_is_a_matrix_product(arguments, dtype, tolerance, monkeypatch):
    monkeypatch.setattr(conv2d_transpose, "_by_depth_to_space", None)
    images = np.random.default_rng(0).normal(size=(2, 3, 5, 7))
    arguments = arguments | {"filters": 1, "padding": "same"}
    expected = output_and_gradients(keras.layers.Conv2DTranspose, arguments, images, "float64")
    found = output_and_gradients(Conv2DTranspose, arguments, images, dtype, training=True)
    assert_close(found, expected, tolerance)


def test_several_channels_are_not_compiled(monkeypatch):
    monkeypatch.setattr(conv2d_transpose, "_by_matrix_product", None)
    layer = Conv2DTranspose(2, 4, 2, padding="same")
    assert layer(tf.ones((2, 3, 5, 7)), training=True).shape == (2, 6, 10, 2)


@pytest.mark.parametrize(
    "arguments",
    [
        {"filters": 5, "kernel_size": 4, "strides": 2},
        {"filters": 1, "kernel_size": 3, "strides": 2},
        {"filters": 1, "kernel_size": 4, "strides": 1},
        {"filters": 1, "kernel_size": (4, 2), "strides": 2},
    ],
)
def test_other_settings_are_left_to_keras(arguments, monkeypatch):
    monkeypatch.setattr(conv2d_transpose, "_by_depth_to_space", None)
    images = np.random.default_rng(0).normal(size=(2, 3, 5, 7))
    arguments = arguments | {"padding": "same"}
    expected = output_and_gradients(keras.layers.Conv2DTranspose, arguments, images, "float32")
    found = output_and_gradients(Conv2DTranspose, arguments, images, "float32")
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("training", [False, True])
def test_a_batch_of_unknown_size(training):
    layer = Conv2DTranspose(1, 4, 2, padding="same")
    layer.build((None, 3, 5, 7))
    call = tf.function(
        functools.partial(layer, training=training), input_signature=[tf.TensorSpec((None, 3, 5, 7))]
    )
    images = tf.random.normal((2, 3, 5, 7))
    np.testing.assert_allclose(call(images), layer(images), rtol=1e-6, atol=1e-6)
    assert call.get_concrete_function().structured_outputs.shape[1:] == (6, 10, 1)
