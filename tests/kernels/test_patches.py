"""Patches and their sum against TensorFlow's own, and against each other."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from vaeflow.kernels.patches import patches_of, reads_patches, sum_of_patches

SIZES = [(4, 2), (2, 2), (3, 1), (6, 2), (9, 3), (2, 1), (5, 5)]


def images_of(stride):
    return tf.constant(np.random.default_rng(0).normal(size=(2, 2 * stride, 3 * stride, 1)), "float64")


@pytest.mark.parametrize(("size", "stride"), SIZES)
def test_they_are_what_a_same_convolution_reads(size, stride):
    images = images_of(stride)
    expected = tf.image.extract_patches(
        images, (1, size, size, 1), (1, stride, stride, 1), (1, 1, 1, 1), "SAME"
    )
    patches = patches_of(images, size, stride)
    np.testing.assert_array_equal(patches, tf.reshape(expected, (-1, size * size)))


@pytest.mark.parametrize(("size", "stride"), SIZES)
def test_their_sum_has_each_pixel_as_often_as_it_was_read(size, stride):
    images = images_of(stride)
    found = sum_of_patches(patches_of(images, size, stride), 2, 3, size, stride)
    patch, each = tf.ones((size, size, 1, 1), "float64"), tf.ones((2, 2, 3, 1), "float64")
    reads = tf.nn.conv2d_transpose(each, patch, images.shape, stride, "SAME")
    np.testing.assert_allclose(found, images * reads, rtol=1e-12)


@pytest.mark.parametrize(("size", "stride"), SIZES)
def test_the_gradients_and_theirs(size, stride):
    images = images_of(stride)[:1]

    def layers(images):
        return sum_of_patches(patches_of(images, size, stride) ** 3, 2, 3, size, stride)

    def gradients(images):
        with tf.GradientTape() as tape:
            tape.watch(images)
            loss = tf.reduce_sum(layers(images) ** 2)
        return tape.gradient(loss, images)

    for function in (layers, gradients):
        [found], [by_differences] = tf.test.compute_gradient(function, [images], 1e-5)
        np.testing.assert_allclose(found, by_differences, atol=1e-6 * np.abs(by_differences).max())


@pytest.mark.parametrize(
    ("reads", "arguments"),
    [
        (True, {}),
        (True, {"kernel_size": 3, "strides": 1}),
        (False, {"kernel_size": 3}),
        (False, {"kernel_size": (4, 2)}),
        (False, {"strides": (2, 1)}),
        (False, {"padding": "valid"}),
        (False, {"data_format": "channels_first"}),
        (False, {"strides": 1, "dilation_rate": 2}),
    ],
)
@pytest.mark.parametrize("kind", [keras.layers.Conv2D, keras.layers.Conv2DTranspose])
def test_which_layers_read_them(kind, reads, arguments):
    layer = kind(**{"filters": 1, "kernel_size": 4, "strides": 2, "padding": "same"} | arguments)
    assert reads_patches(layer) == reads
