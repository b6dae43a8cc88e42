"""The faster group normalization against Keras' own."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from vaeflow.kernels import group_normalization
from vaeflow.kernels.group_normalization import GroupNormalization
from vaeflow.layers.base import build_chain, run_chain

FLOATS = pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-12), ("float32", 2e-5)])


def output_and_gradients(kind, images, upstream, dtype, call=lambda layer, images: layer(images)):
    """The output, and the gradients with respect to the images, gamma and beta."""
    layer = kind(groups=2, dtype=dtype)
    layer.build(images.shape)
    generator = np.random.default_rng(1)
    layer.set_weights([generator.normal(size=6), generator.normal(size=6)])
    images = tf.constant(images, dtype)
    variables = [variable.value for variable in layer.trainable_variables]

    @tf.function(autograph=False)  # XLA compiles nothing of what runs eagerly.
    def computed():
        with tf.GradientTape() as tape:
            tape.watch(images)
            output = call(layer, images)
        return output, *tape.gradient(output, [images, *variables], tf.constant(upstream, output.dtype))

    return [np.asarray(each) for each in computed()]


@FLOATS
@pytest.mark.parametrize("mean", [0.0, 100.0])
def test_it_computes_what_keras_does(dtype, tolerance, mean):
    generator = np.random.default_rng(0)
    images, upstream = generator.normal(mean, size=(3, 5, 4, 6)), generator.normal(size=(3, 5, 4, 6))
    ours = output_and_gradients(GroupNormalization, images, upstream, dtype)
    exact = output_and_gradients(keras.layers.GroupNormalization, images, upstream, "float64")
    # Around 100 a float32 itself is known to 4e-6 only.
    tolerance *= 10 if mean and dtype == "float32" else 1
    for each, expected in zip(ours, exact, strict=True):
        np.testing.assert_allclose(each, expected, rtol=tolerance, atol=tolerance)


def test_mixed_precision_normalizes_in_float32():
    layer = GroupNormalization(groups=2, dtype="mixed_bfloat16")
    layer.build((None, 2, 2, 4))
    images = tf.cast(tf.random.normal((3, 2, 2, 4)) + 50, tf.bfloat16)
    expected = keras.layers.GroupNormalization(groups=2)(tf.cast(images, tf.float32))
    output = layer(images)
    assert output.dtype == tf.bfloat16
    np.testing.assert_allclose(tf.cast(output, tf.float32), expected, atol=0.02)


@pytest.mark.parametrize("arguments", [{"center": False}, {"scale": False}, {"axis": 1}])
def test_other_settings_are_left_to_keras(arguments):
    images = tf.random.normal((2, 4, 3, 4))
    expected = keras.layers.GroupNormalization(groups=2, **arguments)(images)
    np.testing.assert_array_equal(GroupNormalization(groups=2, **arguments)(images), expected)


@FLOATS
@pytest.mark.parametrize("size", [(5, 4), (16, 17)])
@pytest.mark.parametrize("training", [True, False])
def test_silu_after_it_is_computed_with_it(dtype, tolerance, size, training):
    generator = np.random.default_rng(0)
    images, upstream = generator.normal(3, size=(3, *size, 6)), generator.normal(size=(3, *size, 6))

    def joint(layer, images):
        return layer(images, training=training, then_silu=True)

    def apart(layer, images):
        return tf.nn.silu(layer(images))

    ours = output_and_gradients(GroupNormalization, images, upstream, dtype, joint)
    exact = output_and_gradients(keras.layers.GroupNormalization, images, upstream, "float64", apart)
    for each, expected in zip(ours, exact, strict=True):
        # The gradients of gamma and beta are sums over all pixels.
        np.testing.assert_allclose(each, expected, rtol=tolerance, atol=tolerance * np.abs(expected).max())


def test_of_silu_too_the_second_gradient_is_known():
    images = tf.random.stateless_normal((2, 16, 16, 4), (1, 2), dtype=tf.float64)

    def of(kind, **arguments):
        layer = kind(groups=2, dtype="float64")
        layer.build(images.shape)

        @tf.function(autograph=False)
        def computed():
            with tf.GradientTape() as outer:
                outer.watch(images)
                with tf.GradientTape() as inner:
                    inner.watch(images)
                    output = layer(images, training=True, **arguments)
                    output = output if arguments else tf.nn.silu(output)
                    loss = tf.reduce_sum(output**3)
                penalty = tf.reduce_sum(tf.square(inner.gradient(loss, images)))
            return outer.gradient(penalty, images)

        return computed()

    expected = of(keras.layers.GroupNormalization)
    np.testing.assert_allclose(of(GroupNormalization, then_silu=True), expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    ("size", "training", "count"), [(16, True, 3), (16, False, 0), (16, None, 0), (15, True, 0)]
)
def test_xla_compiles_it_only_in_training_and_for_large_maps(size, training, count):
    layer = GroupNormalization(groups=2)
    layer.build((None, size, size, 4))

    @tf.function(autograph=False)
    def gradient(images):
        with tf.GradientTape() as tape:
            tape.watch(images)
            output = layer(images, training=training, then_silu=True)
        return tape.gradient(output, images)

    graph = gradient.get_concrete_function(tf.TensorSpec((2, size, size, 4))).graph
    compiled = [each for each in graph.get_operations() if "_XlaMustCompile" in each.node_def.attr]
    assert len(compiled) == count


def test_a_chain_joins_them_and_calls_every_other_activation():
    silu = keras.layers.Activation("silu")
    blocks = [GroupNormalization(groups=2), silu, keras.layers.Rescaling(-2.0), silu, silu]
    images = tf.random.stateless_normal((2, 16, 16, 4), (1, 2))
    build_chain(blocks, images.shape)
    expected = tf.nn.silu(tf.nn.silu(-2 * tf.nn.silu(keras.layers.GroupNormalization(groups=2)(images))))
    chain = tf.function(lambda images: run_chain(blocks, images, training=True), autograph=False)
    np.testing.assert_allclose(chain(images), expected, atol=1e-5)
    assert run_chain([], images, training=True) is images


def test_one_function_for_many_shapes_is_traced_without_a_warning(tensorflow_log):
    # A function of its own, since TensorFlow warns only twice of the same.
    half = group_normalization._compiled(lambda features: features / 2)
    halves = [half(tf.ones(size)) for size in range(1, 12)]
    assert [len(each) for each in halves] == list(range(1, 12))
    assert "retracing" not in tensorflow_log.text
