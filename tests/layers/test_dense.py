"""The dense encoder and decoder against matrix products."""

import numpy as np
import pytest

from vaeflow.layers import DenseDecoder, DenseEncoder


def relu(x):
    return np.maximum(x, 0)


def test_encoder_is_a_chain_of_affine_maps():
    encoder = DenseEncoder((6, 5), dtype="float64")
    images = np.random.default_rng(0).random((3, 4, 2, 2))
    outputs = encoder(images)
    first, first_bias, second, second_bias = encoder.get_weights()
    expected = relu(relu(images.reshape(3, 16) @ first + first_bias) @ second + second_bias)
    np.testing.assert_allclose(outputs, expected, atol=1e-13)


def test_decoder_ends_in_a_linear_layer():
    decoder = DenseDecoder((6,), target_shape=(4, 2, 2), dtype="float64")
    latents = np.random.default_rng(0).normal(size=(3, 5))
    outputs = decoder(latents)
    first, first_bias, second, second_bias = decoder.get_weights()
    expected = (relu(latents @ first + first_bias) @ second + second_bias).reshape(3, 4, 2, 2)
    np.testing.assert_allclose(outputs, expected, atol=1e-13)
    assert outputs.numpy().min() < 0


def test_no_hidden_layers():
    images = np.random.default_rng(0).random((3, 4, 2, 1))
    np.testing.assert_array_equal(DenseEncoder(())(images), images.reshape(3, 8).astype(np.float32))
    decoder = DenseDecoder((), target_shape=(4, 2, 1))
    decoder.build((None, 3))
    assert decoder.count_params() == 3 * 8 + 8


def test_the_default_is_the_400_unit_net_of_kingma_and_welling():
    encoder, decoder = DenseEncoder(), DenseDecoder(target_shape=(28, 28, 1))
    encoder.build((None, 28, 28, 1))
    decoder.build((None, 20))
    assert encoder.count_params() == 784 * 400 + 400
    assert decoder.count_params() == (20 * 400 + 400) + (400 * 784 + 784)


def test_layer_normalization_comes_before_the_activation():
    encoder = DenseEncoder((6,), normalization="layer", dtype="float64")
    images = np.random.default_rng(0).random((3, 4, 2, 1))
    outputs = encoder(images)
    weights = {variable.path.split("/", 1)[-1]: variable.numpy() for variable in encoder.variables}
    kernel, bias = encoder.blocks[1].kernel.numpy(), encoder.blocks[1].bias.numpy()
    assert len(weights) == 4
    linear = images.reshape(3, 8) @ kernel + bias
    centred = linear - linear.mean(axis=1, keepdims=True)
    expected = relu(centred / np.sqrt(linear.var(axis=1, keepdims=True) + 1e-3))
    np.testing.assert_allclose(outputs, expected, atol=1e-12)


@pytest.mark.parametrize("block", [DenseEncoder, DenseDecoder])
def test_group_normalization_is_refused(block):
    with pytest.raises(ValueError, match=f"`{block.__name__}.normalization` must be one of 'layer', None;"):
        block(normalization="group")
