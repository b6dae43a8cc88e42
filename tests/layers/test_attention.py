"""Self-attention over the places of a map, against NumPy."""

import numpy as np
import pytest
import tensorflow as tf

from vaeflow.layers.attention import MapAttention


def made(channels, dtype="float64", **settings):
    """An attention with weights that are all drawn, of order 1."""
    layer = MapAttention(dtype=dtype, **settings)
    layer.build((None, 3, 5, channels))
    random = np.random.default_rng(0)
    for variable in layer.variables:
        variable.assign(random.normal(size=variable.shape))
    return layer


def weights_of(layer, part):
    return [np.array(variable, "float64") for variable in getattr(layer, part).variables]


def in_numpy(layer, features, num_groups, epsilon):
    """Esser et al. 2021, the authors' program, place by place."""
    gamma, beta = weights_of(layer, "normalization")
    parts = {name: weights_of(layer, name) for name in ("query", "key", "value", "output_layer")}
    results = []
    for example in features:
        height, width, channels = example.shape
        groups = example.reshape(height * width, num_groups, channels // num_groups)
        mean, variance = groups.mean((0, 2), keepdims=True), groups.var((0, 2), keepdims=True)
        normalized = ((groups - mean) / np.sqrt(variance + epsilon)).reshape(-1, channels) * gamma + beta
        query, value = (normalized @ parts[name][0] + parts[name][1] for name in ("query", "value"))
        key = normalized @ parts["key"][0] + 7.0  # Which the softmax cancels.
        attended = []
        for row in query:
            scores = np.exp([row @ other / np.sqrt(channels) for other in key])
            attended.append(sum(s * v for s, v in zip(scores, value, strict=True)) / scores.sum())
        kernel, bias = parts["output_layer"]
        results.append(example + (np.array(attended) @ kernel + bias).reshape(example.shape))
    return np.array(results)


@pytest.mark.parametrize(("channels", "asked", "num_groups"), [(6, 3, 3), (6, 32, 2), (5, 32, 1)])
def test_attention_is_its_formula(channels, asked, num_groups):
    features = np.random.default_rng(1).normal(1.0, 2.0, (2, 3, 5, channels))
    layer = made(channels, num_groups=asked, epsilon=0.3)
    expected = in_numpy(layer, features, num_groups, 0.3)
    np.testing.assert_allclose(layer(features), expected, rtol=1e-12, atol=1e-12)


def test_a_place_sees_every_place():
    layer = made(4)
    features = tf.constant(np.random.default_rng(1).normal(size=(1, 3, 5, 4)))
    with tf.GradientTape() as tape:
        tape.watch(features)
        number = layer(features)[0, 2, 4, 0]
    assert np.all(np.abs(tape.gradient(number, features)[0]).sum(-1) > 1e-9)


def test_half_precision_agrees_with_float64():
    """Rounding to 8 bits of the inputs of four products; the scores are kept small."""
    layer, half = made(8), made(8, "mixed_bfloat16")
    for one in (layer, half):
        for variable in one.query.variables:
            variable.assign(variable / 10.0)
    features = np.random.default_rng(1).normal(size=(2, 3, 5, 8))
    output = half(features)
    assert output.dtype == tf.bfloat16
    difference = np.asarray(tf.cast(output, tf.float64)) - np.asarray(layer(features))
    assert np.abs(difference).max() < 0.02 * np.abs(layer(features)).max()
