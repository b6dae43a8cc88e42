"""The computed peak of memory against numbers by hand."""

import pytest
import tensorflow as tf

from tests.fixtures import tiny_runs
from vaeflow.layers.recompute import recomputed
from vaeflow.layers.resnet import ResidualBlock
from vaeflow.profiling import memory

SIZE = 4 * 100  # Bytes of the vectors below.
VECTOR = tf.TensorSpec(100)


def peak(function, *specs):
    return memory.function_peak(tf.function(function, autograph=False).get_concrete_function(*specs))


def test_a_chain_on_single_elements_is_computed_in_place():
    """The first result needs memory of its own, since the argument belongs to the caller."""
    assert peak(lambda a: tf.exp(tf.tanh(a) * 2.0), VECTOR) == SIZE


def test_what_is_read_later_is_held():
    """tanh(a) is read again at the end; cumsum cannot write over its input."""

    def function(a):
        first = tf.tanh(a)
        return tf.cumsum(tf.cumsum(tf.cumsum(first))) + first

    assert peak(function, VECTOR) == 3 * SIZE


def test_identities_and_reshapes_need_nothing():
    assert peak(lambda a: tf.reshape(tf.identity(tf.tanh(a)), (10, 10)), VECTOR) == SIZE


def test_what_nobody_reads_is_not_made():
    assert peak(lambda a: [tf.cumsum(a, name="unused"), tf.tanh(a)][1], VECTOR) == SIZE


def test_a_product_holds_its_inputs_and_its_output():
    def function(a, b):
        return tf.matmul(tf.tanh(a), tf.tanh(b))

    assert peak(function, tf.TensorSpec((3, 4)), tf.TensorSpec((4, 5))) == 4 * (12 + 20 + 15)


def test_half_precision_counts_half():
    assert peak(tf.cumsum, tf.TensorSpec(100, tf.bfloat16)) == SIZE // 2


def test_the_peak_of_a_function_counts_where_it_is_called():
    """Inside, two blocks at a time, of which one is handed back; outside one more."""
    inner = tf.function(lambda a: tf.cumsum(tf.cumsum(a)), autograph=False)

    def function(a):
        first = tf.tanh(a)
        return inner(first) + first

    assert peak(function, VECTOR) == 3 * SIZE


def test_the_backward_pass_holds_what_each_layer_kept():
    """Of n matrix products on b rows: all inputs, then for the first gradient one more and a matrix's."""
    rows, width, count = 50, 10, 6

    def function(value, *kernels):
        with tf.GradientTape() as tape:
            tape.watch(kernels)
            for kernel in kernels:
                value = tf.matmul(value, kernel)
            loss = tf.reduce_sum(value)
        return tape.gradient(loss, kernels)

    specs = [tf.TensorSpec((rows, width)), *[tf.TensorSpec((width, width))] * count]
    found = peak(function, *specs)
    # The inputs of all products but the first, the gradient of the last output and what it becomes.
    kept = 4 * rows * width * (count - 1)
    assert kept + 4 * rows * width < found <= kept + 4 * rows * width * 2 + 4 * count * width**2


@pytest.mark.long
def test_recompute_holds_little_more_than_the_input_of_each_block():
    blocks = [ResidualBlock(4) for _ in range(3)]
    for block in blocks:
        block.build((None, 16, 16, 4))

    def gradients(call):
        def function(value):
            variables = [variable.value for block in blocks for variable in block.trainable_variables]
            with tf.GradientTape() as tape:
                for block in blocks:
                    value = call(block, value)
                loss = tf.reduce_sum(value**2)
            return tape.gradient(loss, variables)

        return peak(function, tf.TensorSpec((8, 16, 16, 4)))

    size = 4 * 8 * 16 * 16 * 4
    plain = gradients(lambda block, value: block(value, training=True))
    again = gradients(lambda block, value: recomputed(block, value, training=True))
    # Of each block two maps for each convolution: centred, and activated.
    assert 2 * 6 * size < plain < 3 * 6 * size
    assert 3 * size < again < plain / 1.5


@pytest.mark.slow
def test_a_training_step_counts_weights_and_both_moments_of_adam():
    trainer = tiny_runs.trainer(batch_size=8)
    found = memory.training_step_memory(trainer.replica_step)
    weights = 4 * trainer.model.count_params()
    assert found.weights == weights
    # And two numbers: the step and the learning rate.
    assert 2 * weights < found.optimizer < 2 * weights + 20
    # All gradients are there at once.
    assert found.working > weights
    assert found.total == found.weights + found.optimizer + found.working
