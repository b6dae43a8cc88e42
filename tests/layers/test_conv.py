"""The convolutional blocks: sizes, receptive fields, and the published nets weight by weight."""

import numpy as np
import pytest
import tensorflow as tf

from vaeflow.layers import ConvDecoder, ConvEncoder, GaussianPosterior
from vaeflow.layers.conv import strided_sizes


def kernel_shapes(block):
    return [tuple(variable.shape) for variable in block.trainable_variables if len(variable.shape) > 1]


def count(weights):
    """Kernels and, for each, as many biases as outputs: `(shape, outputs)` pairs."""
    return sum(int(np.prod(shape)) + outputs for shape, outputs in weights)


BURGESS_ENCODER = [
    ((4, 4, 1, 32), 32),
    ((4, 4, 32, 32), 32),
    ((4, 4, 32, 32), 32),
    ((4, 4, 32, 32), 32),
    ((4 * 4 * 32, 256), 256),
    ((256, 256), 256),
]
# Keras keeps a transposed kernel as (height, width, outputs, inputs).
BURGESS_DECODER = [
    ((10, 256), 256),
    ((256, 256), 256),
    ((256, 4 * 4 * 32), 4 * 4 * 32),
    ((4, 4, 32, 32), 32),
    ((4, 4, 32, 32), 32),
    ((4, 4, 32, 32), 32),
    ((4, 4, 1, 32), 1),
]
LOCATELLO_ENCODER = [
    ((4, 4, 1, 32), 32),
    ((4, 4, 32, 32), 32),
    ((2, 2, 32, 64), 64),
    ((2, 2, 64, 64), 64),
    ((4 * 4 * 64, 256), 256),
]
LOCATELLO_DECODER = [
    ((10, 256), 256),
    ((256, 4 * 4 * 64), 4 * 4 * 64),
    ((4, 4, 64, 64), 64),
    ((4, 4, 32, 64), 32),
    ((4, 4, 32, 32), 32),
    ((4, 4, 1, 32), 1),
]


@pytest.mark.parametrize(
    ("encoder", "decoder", "encoder_weights", "decoder_weights", "total"),
    [
        # 544 + 3 · 16,416 + 131,328 + 65,792 and 2,816 + 65,792 + 131,584 + 3 · 16,416 + 513.
        (ConvEncoder(), ConvDecoder(), BURGESS_ENCODER, BURGESS_DECODER, (246_912, 249_953)),
        # 544 + 16,416 + 8,256 + 16,448 + 262,400 and 2,816 + 263,168 + 65,600 + 32,800 + 16,416 + 513.
        (
            ConvEncoder(filters=(32, 32, 64, 64), kernel_size=(4, 4, 2, 2), units=(256,)),
            ConvDecoder(filters=(64, 64, 32, 32), units=(256,)),
            LOCATELLO_ENCODER,
            LOCATELLO_DECODER,
            (304_064, 381_313),
        ),
    ],
    ids=["Burgess et al. 2018", "Locatello et al. 2019"],
)
def test_published_nets(encoder, decoder, encoder_weights, decoder_weights, total):
    encoder.build((None, 64, 64, 1))
    decoder.target_shape = (64, 64, 1)
    decoder.build((None, 10))
    assert kernel_shapes(encoder) == [shape for shape, _ in encoder_weights]
    assert kernel_shapes(decoder) == [shape for shape, _ in decoder_weights]
    assert (encoder.count_params(), decoder.count_params()) == total
    assert (count(encoder_weights), count(decoder_weights)) == total
    head = GaussianPosterior(10)
    head.build((None, 256))
    assert head.count_params() == 2 * (256 * 10 + 10)


@pytest.mark.parametrize(
    ("size", "strides", "expected"),
    [
        (64, (2, 2, 2, 2), [64, 32, 16, 8, 4]),
        (28, (2, 2, 2), [28, 14, 7, 4]),
        (17, (2, 2), [17, 9, 5]),
        (13, (3, 1, 2), [13, 5, 5, 3]),
        (1, (2, 2), [1, 1, 1]),
        (5, (), [5]),
    ],
)
def test_strided_sizes(size, strides, expected):
    assert strided_sizes(size, strides) == expected


def feature_map(block, images, blocks):
    for layer in block.blocks[:blocks]:
        images = layer(images)
    return images


def test_encoder_passes_through_the_sizes_of_its_strides():
    encoder = ConvEncoder((4, 4, 4), strides=(2, 3, 1), units=(5,))
    encoder.build((None, 17, 13, 2))
    images = tf.zeros((1, 17, 13, 2))
    sizes = [tuple(feature_map(encoder, images, 2 * n).shape[1:3]) for n in (1, 2, 3)]
    assert sizes == [(9, 7), (3, 3), (3, 3)]


def test_decoder_retraces_the_sizes_of_the_encoder():
    decoder = ConvDecoder((4, 4, 4), strides=(1, 3, 2), units=(5,), target_shape=(17, 13, 2))
    decoder.build((None, 3))
    value, sizes = tf.zeros((1, 3)), []
    for layer in decoder.blocks:
        value = layer(value)
        if len(value.shape) == 4 and (not sizes or sizes[-1] != tuple(value.shape[1:3])):
            sizes.append(tuple(value.shape[1:3]))
    # What is too much is cropped at once: (18, 14) to (17, 13), and so on.
    assert sizes == [(3, 3), (9, 9), (9, 7), (18, 14), (17, 13)]


@pytest.mark.parametrize(
    ("kernels", "receptive"),
    [
        # 1 + Σ (k − 1) · product of the strides before.
        ((4, 4, 4, 4), 1 + 3 * (1 + 2 + 4 + 8)),
        ((4, 4, 2, 2), 1 + 3 * (1 + 2) + 1 * (4 + 8)),
    ],
    ids=["Burgess et al. 2018", "Locatello et al. 2019"],
)
def test_receptive_field_of_the_last_convolution(kernels, receptive):
    encoder = ConvEncoder((2, 2, 2, 2), kernel_size=kernels, activation="linear", units=(), dtype="float64")
    encoder.build((None, 64, 64, 1))
    for variable in encoder.trainable_variables:
        variable.assign(tf.ones_like(variable))  # So that no two paths cancel.
    images = tf.zeros((1, 64, 64, 1), tf.float64)
    with tf.GradientTape() as tape:
        tape.watch(images)
        unit = feature_map(encoder, images, 8)[0, 1, 2, 0]
    support = np.argwhere(tape.gradient(unit, images).numpy()[0, :, :, 0])
    extent = support.max(axis=0) - support.min(axis=0) + 1
    assert extent.tolist() == [receptive, receptive]


def test_convolution_against_loops():
    encoder = ConvEncoder((2,), kernel_size=4, strides=2, units=(), activation="linear", dtype="float64")
    images = np.random.default_rng(0).random((1, 6, 4, 3))
    outputs = encoder(images).numpy().reshape(3, 2, 2)
    kernel, bias = encoder.get_weights()
    padded = np.pad(images[0], ((1, 1), (1, 1), (0, 0)))
    for row in range(3):
        for column in range(2):
            window = padded[2 * row : 2 * row + 4, 2 * column : 2 * column + 4]
            expected = np.einsum("hwc,hwcf->f", window, kernel) + bias
            np.testing.assert_allclose(outputs[row, column], expected, atol=1e-12)


def test_normalization_acts_on_each_hidden_convolution():
    encoder = ConvEncoder((8, 16), units=(3,), normalization="group")
    encoder.build((None, 8, 8, 1))
    names = [type(layer).__name__ for layer in encoder.blocks]
    assert names == ["Conv2D", "GroupNormalization", "Activation"] * 2 + ["Flatten", "Dense", "Activation"]
    decoder = ConvDecoder((16, 8), units=(3,), normalization="layer", target_shape=(8, 8, 1))
    decoder.build((None, 2))
    names = [type(layer).__name__ for layer in decoder.blocks]
    hidden = ["Conv2DTranspose", "LayerNormalization", "Activation"]
    assert names == ["Dense", "Activation", "Dense", "Activation", "Reshape", *hidden, "Conv2DTranspose"]


@pytest.mark.parametrize("filters", [4, 12])
def test_group_normalization_takes_fewer_groups_for_other_widths(filters):
    """Eight groups at most, as the docstring says."""
    encoder = ConvEncoder((filters,), units=(3,), normalization="group")
    assert np.all(np.isfinite(encoder(np.random.default_rng(0).random((2, 8, 8, 1)))))


@pytest.mark.parametrize("block", [ConvEncoder, ConvDecoder])
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"kernel_size": (4, 4)}, "kernel_size` must be an integer or a list of 4 .* got"),
        ({"strides": (2,)}, "strides` must be an integer or a list of 4"),
        ({"strides": 0}, "strides` must be a positive integer, got 0"),
        ({"filters": 32}, "filters` must be a list of positive integers, got 32"),
        ({"filters": (32, -1)}, "filters` must be a positive integer, got -1"),
        ({"normalization": "batch"}, "normalization` must be one of 'group', 'layer', None; got 'batch'"),
    ],
)
def test_faulty_settings_are_refused(block, arguments, message):
    with pytest.raises(ValueError, match=message):
        block(**arguments, **({"target_shape": (8, 8, 1)} if block is ConvDecoder else {}))


def test_a_decoder_without_filters_is_refused():
    with pytest.raises(ValueError, match=r"`ConvDecoder.filters` must name at least one"):
        ConvDecoder(filters=())
