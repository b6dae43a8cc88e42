"""The dense layer with a faster gradient against Keras' own."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.fixtures.layer_gradients import assert_close, output_and_gradients
from vaeflow.kernels import dense
from vaeflow.kernels.dense import Dense


@pytest.mark.parametrize(
    ("dtype", "tolerance"), [("float64", 1e-12), ("float32", 1e-5), ("mixed_bfloat16", 0.02)]
)
@pytest.mark.parametrize("arguments", [{}, {"use_bias": False}, {"activation": "relu"}])
def test_it_computes_what_keras_does(arguments, dtype, tolerance):
    features = np.random.default_rng(0).normal(size=(6, 5))
    arguments = arguments | {"units": 3}
    expected = output_and_gradients(keras.layers.Dense, arguments, features, dtype)
    found = output_and_gradients(Dense, arguments, features, dtype)
    assert [each.dtype for each in found] == [each.dtype for each in expected]
    assert_close(found, expected, tolerance)


def test_the_kernel_is_read_in_its_order(monkeypatch):
    products = []
    multiply = tf.matmul

    def noted(*factors, **options):
        products.append(options)
        return multiply(*factors, **options)

    monkeypatch.setattr(dense.tf, "matmul", noted)
    features = np.random.default_rng(0).normal(size=(6, 5))
    output_and_gradients(Dense, {"units": 3}, features, "float64")
    assert products == [{}, {"transpose_b": True}, {"transpose_a": True}]


def test_other_ranks_are_left_to_keras(monkeypatch):
    monkeypatch.setattr(dense, "_product", None)
    features = np.random.default_rng(0).normal(size=(2, 6, 5))
    expected = output_and_gradients(keras.layers.Dense, {"units": 3}, features, "float32")
    found = output_and_gradients(Dense, {"units": 3}, features, "float32")
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_a_batch_of_unknown_size():
    layer = Dense(3)
    layer.build((None, 5))
    call = tf.function(layer, input_signature=[tf.TensorSpec((None, 5))])
    features = tf.random.normal((2, 5))
    np.testing.assert_allclose(call(features), layer(features), rtol=1e-6, atol=1e-6)
    assert call.get_concrete_function().structured_outputs.shape[1:] == (3,)
