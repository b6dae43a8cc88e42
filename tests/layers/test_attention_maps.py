"""The encoder and decoder of VQGAN and latent diffusion: the published nets, sizes, refusals."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from vaeflow.errors import ConfigurationError
from vaeflow.layers import AttentionMapDecoder, AttentionMapEncoder
from vaeflow.layers.attention import MapAttention
from vaeflow.layers.resnet import ResidualBlock

# f -> the encoder's stages, and its attention besides that in the middle.
PUBLISHED = {8: ((128, 256, 512, 512), ()), 16: ((128, 128, 256, 256, 512), (16,))}


def pair(shape, filters=(3, 4, 5), latents=2, **settings):
    """An encoder and a decoder, both with one residual block in each stage."""
    settings = {"num_residual_units": 1, "dtype": "float64"} | settings
    encoder = AttentionMapEncoder(filters, **settings)
    return encoder, AttentionMapDecoder(filters[::-1], target_shape=shape, **settings)


def residual_weights(inputs, outputs):
    """Two normalized 3x3 convolutions, and a 1x1 convolution in the shortcut where channels change."""
    convolutions = 9 * inputs * outputs + outputs + 9 * outputs * outputs + outputs
    return 2 * inputs + 2 * outputs + convolutions + (inputs != outputs) * (inputs * outputs + outputs)


def published_weights(factor, num_features):
    """Counts the weights of both nets by hand, from the tables of the papers."""
    filters, attention_sizes = PUBLISHED[factor]

    def attention(count):
        return 2 * count + 4 * count * count + 3 * count

    def convolution(inputs, outputs):
        return 9 * inputs * outputs + outputs

    last = filters[-1]
    middle = 2 * residual_weights(last, last) + attention(last)
    encoder = convolution(3, filters[0]) + middle + 2 * last + convolution(last, num_features)
    decoder = convolution(num_features // 2, last) + middle + 2 * filters[0] + convolution(filters[0], 3)
    before = filters[0]
    for stage, count in enumerate(filters):
        encoder += convolution(before, before) if stage else 0
        attends = 256 // 2**stage in attention_sizes
        encoder += residual_weights(before, count) + residual_weights(count, count)
        encoder += 2 * attention(count) * attends
        before = count
    before = last
    for stage, count in reversed(list(enumerate(filters))):
        decoder += convolution(before, before) if stage < len(filters) - 1 else 0
        attends = 256 // 2**stage in attention_sizes
        decoder += residual_weights(before, count) + 2 * residual_weights(count, count)
        decoder += 3 * attention(count) * attends
        before = count
    return encoder, decoder


def test_the_count_by_hand_is_that_of_the_published_weights():
    """The file kl-f8 of latent diffusion, and Stable Diffusion's, whose keys have a bias."""
    assert published_weights(8, 8) == (34_163_592 - 512, 49_490_179 - 512)


@pytest.mark.tokenizers
@pytest.mark.parametrize(("factor", "num_latents"), [(8, 4), (16, 16)])
def test_the_published_nets(factor, num_latents):
    filters, attention_sizes = PUBLISHED[factor]
    encoder = AttentionMapEncoder(filters, attention_sizes=attention_sizes, num_features=2 * num_latents)
    decoder = AttentionMapDecoder(filters[::-1], attention_sizes=attention_sizes, target_shape=(256, 256, 3))
    encoder.build((None, 256, 256, 3))
    decoder.build((None, 256 // factor, 256 // factor, num_latents))
    counts = encoder.count_params(), decoder.count_params()
    assert counts == published_weights(factor, 2 * num_latents)


@pytest.mark.families
@pytest.mark.parametrize(("shape", "filters"), [((8, 12, 3), (3, 4, 5)), ((5, 7, 2), (4,))], ids=str)
def test_maps_have_the_size_divided_by_the_factor_and_images_get_theirs_back(shape, filters):
    encoder, decoder = pair(shape, filters)
    images = np.random.default_rng(0).random((3, *shape))
    with tf.GradientTape() as tape:
        features = encoder(images)
        outputs = decoder(features)
        loss = tf.reduce_sum(outputs * np.random.default_rng(1).normal(size=outputs.shape))
    factor = 2 ** (len(filters) - 1)
    assert features.shape == (3, shape[0] // factor, shape[1] // factor, filters[-1])
    assert outputs.shape == (3, *shape)
    variables = [*encoder.trainable_variables, *decoder.trainable_variables]
    assert all(gradient is not None for gradient in tape.gradient(loss, variables))
    np.testing.assert_allclose(decoder(encoder(images[1:2])), outputs[1:2], atol=1e-12)
    for block, inputs in ((encoder, images), (decoder, features)):
        again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(block))
        again(inputs)
        again.set_weights(block.get_weights())
        np.testing.assert_array_equal(again(inputs), block(inputs))


def kinds(block):
    """The residual blocks, attentions and everything else of a net, in order, by a letter each."""
    return "".join({ResidualBlock: "r", MapAttention: "a"}.get(type(each), ".") for each in block.blocks)


@pytest.mark.slow
def test_attention_is_in_the_middle_and_in_the_stages_of_the_named_heights():
    encoder, decoder = pair((8, 12, 3), attention_sizes=(4,), num_residual_units=2)
    encoder.build((None, 8, 12, 3))
    decoder.build((None, 2, 3, 5))
    assert kinds(encoder) == ".rr.rara.rrrar."
    assert kinds(decoder) == ".rarrr.rara.rr."


@pytest.mark.slow
def test_the_last_convolution_makes_the_asked_for_features():
    encoder = AttentionMapEncoder((4, 4), 1, num_features=3)
    assert encoder(np.zeros((1, 4, 4, 1), "float32")).shape == (1, 2, 2, 3)


def test_images_that_the_factor_does_not_divide_are_refused():
    encoder, decoder = pair((8, 10, 3))
    message = (
        r" has 3 stages, so images must be multiples of 4 pixels high and wide, got 8x10; crop or resize"
    )
    with pytest.raises(ConfigurationError, match=f"AttentionMapEncoder{message}"):
        encoder.build((None, 8, 10, 3))
    with pytest.raises(ConfigurationError, match=f"AttentionMapDecoder{message}"):
        decoder.build((None, 2, 3, 5))


def test_a_decoder_with_another_number_of_stages_than_the_encoder_is_refused():
    decoder = AttentionMapDecoder((4, 4), target_shape=(8, 8, 1))
    message = r"strides \(2,\) of AttentionMapDecoder make images of 8x8 of maps of 4x4, and the map is 2x2"
    with pytest.raises(ConfigurationError, match=message):
        decoder.build((None, 2, 2, 3))


@pytest.mark.parametrize("which", [0, 1])
def test_attention_at_a_height_that_no_map_has_is_refused(which):
    block = pair((8, 12, 3), attention_sizes=(4, 12))[which]
    with pytest.raises(
        ConfigurationError, match=r"attention_sizes` names 12, and its maps are (8, 4, 2|2, 4, 8) "
    ):
        block.build((None, 8, 12, 3) if which == 0 else (None, 2, 3, 5))


@pytest.mark.parametrize(
    ("setting", "value"),
    [("filters", ()), ("num_residual_units", 0), ("attention_sizes", 16), ("recompute", "yes")],
)
@pytest.mark.parametrize("block", [AttentionMapEncoder, AttentionMapDecoder])
def test_a_faulty_setting_is_refused(block, setting, value):
    with pytest.raises(ValueError, match=f"`{block.__name__}.{setting}` must"):
        block(**{setting: value})


def test_a_faulty_number_of_features_is_refused():
    with pytest.raises(ValueError, match=r"`AttentionMapEncoder\.num_features` must"):
        AttentionMapEncoder(num_features=0)
