"""Requirements on every shipped encoder and decoder, for images of any size."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from vaeflow.layers import (
    ConvDecoder,
    ConvEncoder,
    DenseDecoder,
    DenseEncoder,
    ResNetDecoder,
    ResNetEncoder,
)

SHAPES = [(17, 13, 2), (1, 1, 1)]
FURTHER_SHAPES = [(28, 28, 1), (64, 64, 3), (3, 1, 2)]
ALL_SHAPES = [*SHAPES, *(pytest.param(shape, marks=pytest.mark.long) for shape in FURTHER_SHAPES)]

ENCODERS = {
    "dense": lambda **kw: DenseEncoder((6, 5), **kw),
    "dense, layer norm": lambda **kw: DenseEncoder((6, 5), normalization="layer", **kw),
    "conv": lambda **kw: ConvEncoder((4, 4, 4, 4), units=(6, 5), **kw),
    "conv, odd strides": lambda **kw: ConvEncoder((4, 6), (3, 5), (3, 1), units=(5,), **kw),
    "conv, group norm": lambda **kw: ConvEncoder((8, 16), units=(5,), normalization="group", **kw),
    "conv, layer norm": lambda **kw: ConvEncoder((4, 4), units=(5,), normalization="layer", **kw),
    "resnet": lambda **kw: ResNetEncoder((4, 6), units=5, **kw),
}

DECODERS = {
    "dense": lambda **kw: DenseDecoder((6, 5), **kw),
    "dense, layer norm": lambda **kw: DenseDecoder((6, 5), normalization="layer", **kw),
    "conv": lambda **kw: ConvDecoder((4, 4, 4, 4), units=(6, 5), **kw),
    "conv, odd strides": lambda **kw: ConvDecoder((4, 6), (3, 5), (3, 1), units=(5,), **kw),
    "conv, group norm": lambda **kw: ConvDecoder((8, 8, 16), units=(5,), normalization="group", **kw),
    "conv, layer norm": lambda **kw: ConvDecoder((4, 4), units=(5,), normalization="layer", **kw),
    "resnet": lambda **kw: ResNetDecoder((6, 4), **kw),
}


def random_images(count, shape):
    return np.random.default_rng(0).random((count, *shape))


def assert_examples_do_not_mix(block, inputs):
    np.testing.assert_allclose(block(inputs[1:2]), block(inputs)[1:2], atol=1e-10)


def assert_every_weight_has_a_gradient(block, inputs):
    with tf.GradientTape() as tape:
        outputs = block(inputs, training=True)
        loss = tf.reduce_sum(outputs * np.random.default_rng(1).normal(size=outputs.shape))
    for variable, gradient in zip(block.trainable_variables, tape.gradient(loss, block.trainable_variables)):
        assert gradient is not None, variable.path
        assert np.all(np.isfinite(gradient)), variable.path


def assert_comes_back(block, inputs):
    """From its configuration and weights."""
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(block))
    again.set_weights(block.get_weights())
    np.testing.assert_array_equal(again(inputs), block(inputs))


@pytest.mark.slow
@pytest.mark.parametrize("shape", ALL_SHAPES, ids=str)
@pytest.mark.parametrize("name", ENCODERS)
def test_encoder(name, shape):
    encoder = ENCODERS[name](dtype="float64")
    images = random_images(3, shape)
    features = encoder(images)
    assert features.shape == (3, 5)
    assert features.dtype == tf.float64
    assert np.all(np.isfinite(features))
    assert_examples_do_not_mix(encoder, images)
    assert_every_weight_has_a_gradient(encoder, images)
    assert_comes_back(encoder, images)


@pytest.mark.slow
@pytest.mark.parametrize("shape", ALL_SHAPES, ids=str)
@pytest.mark.parametrize("name", DECODERS)
def test_decoder(name, shape):
    decoder = DECODERS[name](target_shape=shape, dtype="float64")
    latents = np.random.default_rng(0).normal(size=(3, 4))
    outputs = decoder(latents)
    assert outputs.shape == (3, *shape)
    assert outputs.dtype == tf.float64
    assert np.all(np.isfinite(outputs))
    assert_examples_do_not_mix(decoder, latents)
    assert_every_weight_has_a_gradient(decoder, latents)
    assert_comes_back(decoder, latents)


@pytest.mark.parametrize("name", DECODERS)
def test_latents_reach_every_pixel(name):
    """A pixel that no weight reaches would be the same for all latents."""
    decoder = DECODERS[name](activation="tanh", target_shape=(17, 13, 2), dtype="float64")
    outputs = decoder(np.random.default_rng(0).normal(size=(20, 4))).numpy()
    assert outputs.std(axis=0).min() > 0


@pytest.mark.parametrize("name", ENCODERS)
def test_every_pixel_reaches_the_features(name):
    encoder = ENCODERS[name](activation="tanh", dtype="float64")
    images = tf.constant(random_images(4, (16, 12, 2)))
    with tf.GradientTape() as tape:
        tape.watch(images)
        features = encoder(images)
    gradient = tf.reduce_max(tf.abs(tape.gradient(features, images)), axis=0).numpy()
    assert gradient.min() > 0


@pytest.mark.slow
@pytest.mark.parametrize("make", [*ENCODERS.values(), *DECODERS.values()])
@pytest.mark.parametrize(("policy", "compute"), [("float64", "float64"), ("mixed_bfloat16", "bfloat16")])
def test_a_precision_reaches_every_nested_layer(make, policy, compute):
    block = make(dtype=policy)
    if hasattr(block, "target_shape"):
        block.target_shape = (5, 5, 1)
    block.build((None, 4) if hasattr(block, "target_shape") else (None, 5, 5, 1))
    variables = "float32" if policy == "mixed_bfloat16" else policy
    assert {layer.compute_dtype for layer in block._flatten_layers()} == {compute}
    assert {variable.dtype for variable in block.variables} == {variables}


@pytest.mark.parametrize("block", [DenseEncoder, ConvEncoder, DenseDecoder, ConvDecoder])
def test_widths_are_validated(block):
    with pytest.raises(ValueError, match=rf"`{block.__name__}.units` must be a positive integer, got 0"):
        block(units=(0,))
    with pytest.raises(ValueError, match=rf"`{block.__name__}.units` must be a list"):
        block(units=400)


@pytest.mark.parametrize("decoder", [DenseDecoder, ConvDecoder, ResNetDecoder])
def test_a_decoder_alone_asks_for_its_target_shape(decoder):
    with pytest.raises(ValueError, match=r"target_shape` must be .height, width, channels., got None"):
        decoder().build((None, 3))
