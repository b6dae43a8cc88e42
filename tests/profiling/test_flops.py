"""The counted operations against numbers computed by hand."""

import keras
import pytest
import tensorflow as tf

from tests.fixtures import tiny_runs
from vaeflow.datasets import InMemorySplit
from vaeflow.layers import ConvDecoder, ConvEncoder
from vaeflow.models import VAE
from vaeflow.profiling import flops
from vaeflow.training.settings import TrainingSettings
from vaeflow.training.trainer import Trainer


def count(function, *shapes):
    """Counts what `function` does with tensors of some shapes."""
    traced = tf.function(function, autograph=False)
    return flops.function_flops(traced.get_concrete_function(*map(tf.TensorSpec, shapes)))


def gradient(function, watched=(0, 1)):
    """Returns a function that gives the gradient of the sum of squares of `function`."""

    def of(*tensors):
        with tf.GradientTape() as tape:
            tape.watch(tensors)
            loss = tf.reduce_sum(function(*tensors) ** 2)
        return tape.gradient(loss, [tensors[index] for index in watched])

    return of


def convolve(images, kernel):
    return tf.nn.conv2d(images, kernel, 2, "SAME")


# 4 outputs of 3 x 3 pixels, for each 5 x 5 x 2 inputs.
CONVOLUTION = 2 * (7 * 3 * 3 * 4) * (5 * 5 * 2)


@pytest.mark.parametrize(
    ("function", "shapes", "expected"),
    [
        (tf.matmul, [(3, 4), (4, 5)], 2 * 3 * 4 * 5),
        (lambda a, b: tf.matmul(a, b, transpose_a=True), [(4, 3), (4, 5)], 2 * 3 * 4 * 5),
        (tf.matmul, [(6, 3, 4), (6, 4, 5)], 6 * 2 * 3 * 4 * 5),
        (lambda a, b: tf.matmul(a, b, transpose_a=True), [(6, 4, 3), (6, 4, 5)], 6 * 2 * 3 * 4 * 5),
        (gradient(tf.matmul), [(3, 4), (4, 5)], 3 * 2 * 3 * 4 * 5),
        (lambda a, b: tf.einsum("abc,cd->abd", a, b), [(6, 3, 4), (4, 5)], 6 * 2 * 3 * 4 * 5),
        (lambda a, b: tf.einsum("...c,cd->...d", a, b), [(6, 3, 4), (4, 5)], 6 * 2 * 3 * 4 * 5),
        (lambda a, b: tf.einsum("ab,b->ab", a, b), [(3, 4), (4,)], 0),
        (tf.add, [(3, 4), (3, 4)], 0),
        (convolve, [(7, 6, 6, 2), (5, 5, 2, 4)], CONVOLUTION),
        (gradient(convolve), [(7, 6, 6, 2), (5, 5, 2, 4)], 3 * CONVOLUTION),
        # Two groups of channels: each output reads one.
        (convolve, [(7, 6, 6, 4), (5, 5, 2, 4)], CONVOLUTION),
        (
            gradient(lambda a, k: tf.nn.depthwise_conv2d(a, k, (1, 1, 1, 1), "SAME")),
            [(7, 6, 6, 2), (5, 5, 2, 3)],
            3 * 2 * (7 * 6 * 6 * 2 * 3) * (5 * 5),
        ),
        (
            lambda a, k: tf.nn.conv2d_transpose(a, k, (7, 6, 6, 2), 2),
            [(7, 3, 3, 4), (5, 5, 2, 4)],
            CONVOLUTION,
        ),
    ],
)
def test_one_operation(function, shapes, expected):
    assert count(function, *shapes) == expected


@pytest.mark.slow
def test_what_nobody_reads_is_not_counted():
    """The gradient of a nested function computes both gradients, of which one is used."""
    nested = tf.function(convolve, autograph=False)
    assert count(gradient(nested, watched=[1]), (7, 6, 6, 2), (5, 5, 2, 4)) == 2 * CONVOLUTION


def test_functions_loops_and_conditions():
    product = tf.function(tf.matmul, jit_compile=True)

    def body(index, matrix):
        return index + 1, product(matrix, matrix)

    def loop(matrix):
        _, result = tf.while_loop(lambda index, _: index < 9, body, (0, matrix))
        more = lambda: product(product(result, result), result)  # noqa: E731
        return tf.cond(result[0, 0] > 0.0, more, lambda: product(result, result))

    assert count(loop, (3, 3)) == (1 + 2) * 2 * 3**3


def test_a_shape_that_is_not_known():
    with pytest.raises(ValueError, match=r"shape \(None, 4\) of MatMul 'MatMul' is not known"):
        count(lambda a, b: tf.matmul(a, b)[0], (None, 4), (4, 5))


@pytest.mark.slow
def test_a_step_of_a_dense_net():
    """64 pixels, 8 units, 2 latents, and back; 8 images."""
    encoder, decoder = 64 * 8 + 8 * 2 * 2, 2 * 8 + 8 * 64
    # Backward twice as much, but for the gradient with respect to the images.
    expected = 2 * 8 * (3 * (encoder + decoder) - 64 * 8)
    assert flops.training_step_flops(tiny_runs.trainer(batch_size=8)) == expected
    # A replica computes one half after the other.
    assert flops.training_step_flops(tiny_runs.trainer(gradient_accumulation_steps=2)) == expected


@pytest.mark.long
@pytest.mark.slow
def test_a_step_of_a_convolutional_net():
    """8x8 images; 3 filters of 4x4 at 4x4 pixels, 5 units, 2 latents, and back; 4 images."""
    convolution = 4 * 4 * 3 * (4 * 4 * 1)
    encoder, decoder = convolution + 48 * 5 + 5 * 2 * 2, 2 * 5 + 5 * 48 + convolution
    expected = 2 * 4 * (3 * (encoder + decoder) - convolution)

    keras.utils.set_random_seed(0)
    strategy = tf.distribute.MirroredStrategy(["CPU:0"])
    with strategy.scope():
        model = VAE(2, ConvEncoder((3,), units=(5,)), ConvDecoder((3,), units=(5,)))
        optimizer = keras.optimizers.Adam()
    split = InMemorySplit(tiny_runs.images(8))
    trainer = Trainer(model, optimizer, split, TrainingSettings(batch_size=4), strategy)
    assert flops.training_step_flops(trainer) == expected


def test_the_rate_of_a_matrix_product():
    assert flops.matrix_product_rate(0.05) > 1e6
