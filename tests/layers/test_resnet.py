"""The residual block against its definition, and the sizes of the residual nets."""

import math

import numpy as np
import pytest
import tensorflow as tf

from vaeflow.layers import ResNetDecoder, ResNetEncoder
from vaeflow.layers.resnet import ResidualBlock


def silu(x):
    return x / (1 + np.exp(-x))


def normalize(x):
    """Group normalization (Wu & He 2018, arXiv:1803.08494, Eq. 1) with at most 8 groups."""
    num_groups = math.gcd(8, x.shape[-1])
    groups = x.reshape(*x.shape[:3], num_groups, -1)
    mean = groups.mean(axis=(1, 2, 4), keepdims=True)
    variance = groups.var(axis=(1, 2, 4), keepdims=True)
    return ((groups - mean) / np.sqrt(variance + 1e-3)).reshape(x.shape)


def convolve(x, kernel, bias):
    """A 3x3 "same" convolution."""
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    height, width = x.shape[1:3]
    taps = [padded[:, i : i + height, j : j + width] @ kernel[i, j] for i in range(3) for j in range(3)]
    return sum(taps) + bias


@pytest.mark.parametrize("filters", [2, 5])
def test_residual_block_is_the_shortcut_plus_two_preactivated_convolutions(filters):
    block = ResidualBlock(filters, dtype="float64")
    features = np.random.default_rng(0).normal(size=(2, 5, 4, 2))
    outputs = block(features)
    weights = [layer.get_weights() for layer in block.blocks if type(layer).__name__ == "Conv2D"]
    expected = features
    for kernel, bias in weights:
        expected = convolve(silu(normalize(expected)), kernel, bias)
    shortcut = features
    if filters != 2:
        kernel, bias = block.shortcut.get_weights()
        shortcut = features @ kernel[0, 0] + bias
    np.testing.assert_allclose(outputs, shortcut + expected, atol=1e-10)


def test_encoder_halves_at_each_stage():
    encoder = ResNetEncoder((2, 3, 4), blocks_per_stage=2, units=5)
    encoder.build((None, 17, 12, 1))
    dense = encoder.blocks[-1]
    assert dense.kernel.shape == (3 * 2 * 4, 5)
    assert sum(isinstance(block, ResidualBlock) for block in encoder.blocks) == 6


def test_decoder_doubles_at_each_stage():
    decoder = ResNetDecoder((4, 3, 2), blocks_per_stage=2, target_shape=(17, 12, 1))
    decoder.build((None, 6))
    assert decoder.blocks[0].kernel.shape == (6, 3 * 2 * 4)
    assert sum(isinstance(block, ResidualBlock) for block in decoder.blocks) == 6


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ResNetEncoder(filters=(0,)), "`ResNetEncoder.filters` must be a positive integer"),
        (lambda: ResNetEncoder(blocks_per_stage=0), "`ResNetEncoder.blocks_per_stage` must be a positive"),
        (lambda: ResNetEncoder(units=-1), "`ResNetEncoder.units` must be a positive integer"),
        (lambda: ResNetDecoder(filters=()), "`ResNetDecoder.filters` must name at least one"),
        (lambda: ResNetDecoder(blocks_per_stage=1.5), "`ResNetDecoder.blocks_per_stage` must be a positive"),
    ],
)
def test_faulty_settings_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.families
@pytest.mark.parametrize(
    ("block", "shape"),
    [
        (ResNetEncoder((4, 6), units=5, dtype="float64"), (2, 7, 5, 3)),
        (ResNetDecoder((6, 4), target_shape=(7, 5, 3), dtype="float64"), (2, 4)),
    ],
)
def test_a_traced_net_is_the_same(block, shape):
    inputs = np.random.default_rng(0).normal(size=shape)
    expected = block(inputs)
    traced = tf.function(lambda values: block(values, training=True), autograph=False)
    np.testing.assert_allclose(traced(tf.constant(inputs)), expected, rtol=1e-12, atol=1e-14)
