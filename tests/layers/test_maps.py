"""Blocks of maps: sizes, precision, and the Gaussian for each place."""

import keras
import numpy as np
import pytest

from tests.layers.test_encoders_decoders import (
    assert_comes_back,
    assert_every_weight_has_a_gradient,
    assert_examples_do_not_mix,
    random_images,
)
from vaeflow.errors import ConfigurationError
from vaeflow.layers import ConvMapDecoder, ConvMapEncoder, GaussianMap

CASES = pytest.mark.parametrize(
    ("shape", "strides", "size"),
    [
        ((28, 28, 1), (2, 2), (7, 7)),
        ((17, 13, 2), (2, 2), (5, 4)),
        ((9, 8, 3), (3, 1), (3, 3)),
        ((1, 1, 1), 2, (1, 1)),
    ],
    ids=str,
)


@pytest.mark.slow
@CASES
@pytest.mark.parametrize("normalization", [None, "group"])
def test_an_encoder_makes_a_map_of_the_rounded_up_size(shape, strides, size, normalization):
    encoder = ConvMapEncoder((4, 6), 3, strides, normalization=normalization, dtype="float64")
    images = random_images(3, shape)
    assert encoder(images).shape == (3, *size, 6)
    assert_examples_do_not_mix(encoder, images)
    assert_every_weight_has_a_gradient(encoder, images)
    assert_comes_back(encoder, images)


@pytest.mark.slow
@CASES
@pytest.mark.parametrize("normalization", [None, "layer"])
def test_a_decoder_retraces_the_sizes(shape, strides, size, normalization):
    strides = strides[::-1] if isinstance(strides, tuple) else strides
    settings = {"normalization": normalization, "target_shape": shape, "dtype": "float64"}
    decoder = ConvMapDecoder((6, 4), 3, strides, **settings)
    features = np.random.default_rng(0).normal(size=(3, *size, 5))
    assert decoder(features).shape == (3, *shape)
    assert_examples_do_not_mix(decoder, features)
    assert_every_weight_has_a_gradient(decoder, features)
    assert_comes_back(decoder, features)


def test_every_place_of_the_map_reaches_its_pixels_and_none_far_away():
    decoder = ConvMapDecoder((4,), 4, 4, activation="tanh", target_shape=(32, 32, 1), dtype="float64")
    features = np.zeros((1, 8, 8, 3))
    changed = features.copy()
    changed[0, 2, 5] = 1.0
    rows, columns = np.nonzero(np.any(decoder(features) != decoder(changed), axis=(0, 3)))
    assert (rows.min(), rows.max()) == (4, 15)
    assert (columns.min(), columns.max()) == (16, 27)


@pytest.mark.parametrize("size", [(14, 14), (7, 6)])
def test_a_map_of_another_size_is_refused(size):
    decoder = ConvMapDecoder((4, 4), target_shape=(28, 28, 1))
    message = rf"make images of 28x28 of maps of 7x7, and the map is {size[0]}x{size[1]}; give it the strides"
    with pytest.raises(ConfigurationError, match=message):
        decoder.build((None, *size, 3))


@pytest.mark.parametrize("block", [ConvMapEncoder, ConvMapDecoder])
def test_there_must_be_a_convolution(block):
    with pytest.raises(ValueError, match=rf"`{block.__name__}.filters` must name at least one number"):
        block(filters=())


def test_a_gaussian_map_is_a_convolution_of_the_activated_features():
    block = GaussianMap(2, 1, activation="relu", dtype="float64")
    features = np.random.default_rng(0).normal(size=(3, 4, 5, 6))
    mean, log_variance = block(features)
    kernel, bias = (weight.numpy() for weight in block.blocks[1].weights)
    expected = np.maximum(features, 0) @ kernel[0, 0] + bias
    np.testing.assert_allclose(mean, expected[..., :2], rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(log_variance, expected[..., 2:], rtol=1e-12, atol=1e-12)


def test_a_gaussian_map_computes_in_the_dtype_of_its_variables():
    keras.config.set_dtype_policy("mixed_bfloat16")
    block = GaussianMap(2)
    block.build((None, 4, 4, 3))
    assert {layer.compute_dtype for layer in block._flatten_layers()} == {"float32"}
