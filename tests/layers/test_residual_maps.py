"""The encoder and decoder of maps: the published net, sizes, and a unit against NumPy."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from vaeflow.errors import ConfigurationError
from vaeflow.layers import (
    DeterministicPosterior,
    FlowPrior,
    GaussianPosterior,
    Posterior,
    ResidualMapDecoder,
    ResidualMapEncoder,
)
from vaeflow.layers.residual_maps import ResidualUnit
from vaeflow.models import VAE

SHAPES = [(8, 8, 3), (17, 13, 2), (3, 1, 1)]


def map_size(shape):
    """Of two convolutions with stride 2."""
    return tuple(-(-size // 4) for size in shape[:2])


def kernel_shapes(block):
    return [tuple(variable.shape) for variable in block.trainable_variables if len(variable.shape) > 1]


def test_the_published_net():
    """Van den Oord et al. 2017, section 4.1: 256 hidden units everywhere."""
    encoder, decoder = ResidualMapEncoder(), ResidualMapDecoder(target_shape=(32, 32, 3))
    encoder.build((None, 32, 32, 3))
    decoder.build((None, 8, 8, 64))
    unit = [(3, 3, 256, 256), (1, 1, 256, 256)]
    assert kernel_shapes(encoder) == [(4, 4, 3, 256), (4, 4, 256, 256), *unit, *unit]
    # Keras keeps a transposed kernel as (height, width, outputs, inputs).
    assert kernel_shapes(decoder) == [(3, 3, 64, 256), *unit, *unit, (4, 4, 256, 256), (4, 4, 3, 256)]


@pytest.mark.slow
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_maps_have_a_quarter_of_the_size_rounded_up_and_images_get_theirs_back(shape):
    encoder, decoder = (
        block((4, 5), 1, 3, dtype="float64", **more)
        for block, more in ((ResidualMapEncoder, {}), (ResidualMapDecoder, {"target_shape": shape}))
    )
    images = np.random.default_rng(0).random((3, *shape))
    with tf.GradientTape() as tape:
        features = encoder(images)
        outputs = decoder(features)
        loss = tf.reduce_sum(outputs * np.random.default_rng(1).normal(size=outputs.shape))
    assert features.shape == (3, *map_size(shape), 5)
    assert outputs.shape == (3, *shape)
    variables = [*encoder.trainable_variables, *decoder.trainable_variables]
    assert all(gradient is not None for gradient in tape.gradient(loss, variables))
    np.testing.assert_allclose(decoder(encoder(images[1:2])), outputs[1:2], atol=1e-12)
    for block, inputs in ((encoder, images), (decoder, features)):
        again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(block))
        again(inputs)
        again.set_weights(block.get_weights())
        np.testing.assert_array_equal(again(inputs), block(inputs))


def test_a_pixel_reaches_the_features_near_it_only():
    """Two 4x4 convolutions, stride 2, see 10 pixels in a row; the 3x3 convolution of a unit, 18."""
    encoder = ResidualMapEncoder((2, 2), 1, activation="tanh", dtype="float64")
    images = tf.constant(np.random.default_rng(0).random((1, 1, 48, 1)))
    with tf.GradientTape() as tape:
        tape.watch(images)
        feature = encoder(images)[0, 0, 6, 0]
    seen = np.flatnonzero(tape.gradient(feature, images)[0, 0, :, 0])
    np.testing.assert_array_equal(seen, np.arange(17, 35))


def test_a_residual_unit_is_its_formula():
    unit = ResidualUnit(2, 3, dtype="float64")
    features = np.random.default_rng(0).normal(size=(1, 4, 5, 2))
    unit.build(features.shape)
    for variable in unit.variables:
        variable.assign(np.random.default_rng(1).normal(size=variable.shape))
    kernel, bias, last_kernel, last_bias = (variable.numpy() for variable in unit.variables)
    padded = np.pad(np.maximum(features, 0), ((0, 0), (1, 1), (1, 1), (0, 0)))
    hidden = bias + sum(
        padded[:, row : row + 4, column : column + 5] @ kernel[row, column]
        for row in range(3)
        for column in range(3)
    )
    expected = features + np.maximum(hidden, 0) @ last_kernel[0, 0] + last_bias
    np.testing.assert_allclose(unit(features), expected, rtol=1e-12, atol=1e-12)


def test_a_decoder_with_another_number_of_convolutions_than_the_encoder_is_refused():
    decoder = ResidualMapDecoder((4,), target_shape=(8, 8, 1))
    message = (
        r"the strides \(2,\) of ResidualMapDecoder make images of 8x8 of maps of 4x4, and the map is 2x2"
    )
    with pytest.raises(ConfigurationError, match=message):
        decoder.build((None, 2, 2, 3))


@pytest.mark.parametrize(
    ("setting", "value"), [("filters", ()), ("num_residual_units", -1), ("residual_filters", 0)]
)
@pytest.mark.parametrize("block", [ResidualMapEncoder, ResidualMapDecoder])
def test_a_faulty_setting_is_refused(block, setting, value):
    with pytest.raises(ValueError, match=f"`{block.__name__}.{setting}` must"):
        block(**{setting: value})


class MapPosterior(DeterministicPosterior):
    """Keeps the places of a map."""

    features_rank = 4


def spatial_vae(posterior: Posterior, **blocks):
    encoder = ResidualMapEncoder((4, 5), 1)
    return VAE(
        3, **{"encoder": encoder, "decoder": ResidualMapDecoder((5, 4), 1), "posterior": posterior} | blocks
    )


@pytest.mark.slow
def test_latents_of_a_vae_may_be_a_map():
    model = spatial_vae(MapPosterior())
    model.build((None, 8, 7, 2))
    assert model.encode(np.zeros((5, 8, 7, 2), "float32")).center.shape == (5, 2, 2, 3)
    assert model.sample(4).shape == (4, 8, 7, 2)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: spatial_vae(GaussianPosterior()),
            r"returns a tensor of the shape \[B, 2, 2, 5\], it must return features \[B, F\]; end it with Fl",
        ),
        (
            lambda: spatial_vae(MapPosterior(), encoder=None),
            r"shape \[B, 400\], it must return features \[B, h, w, F\] for MapPosterior",
        ),
        (
            lambda: spatial_vae(MapPosterior(), prior=FlowPrior()),
            r"FlowPrior takes latents \[B, D\], and those of MapPosterior are \[B, 2, 2, 3\]; choose another",
        ),
        (
            lambda: spatial_vae(MapPosterior(), decoder=None),
            r"DenseDecoder takes latents \[B, D\], and those of MapPosterior are \[B, 2, 2, 3\]",
        ),
        (
            lambda: VAE(3, decoder=ResidualMapDecoder()),
            r"ResidualMapDecoder takes latents \[B, h, w, D\], and those of GaussianPosterior are \[B, 3\]",
        ),
    ],
)
def test_blocks_that_do_not_fit_together_are_refused(make, message):
    with pytest.raises(ConfigurationError, match=message):
        make().build((None, 8, 7, 2))
