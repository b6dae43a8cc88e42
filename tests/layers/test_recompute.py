"""Gradient checkpointing: the same numbers as without, and fewer tensors kept."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from vaeflow.layers import AttentionMapEncoder
from vaeflow.layers.attention import MapAttention
from vaeflow.layers.base import Chain, run_chain
from vaeflow.layers.recompute import recomputed
from vaeflow.layers.resnet import ResidualBlock

FEATURES = np.random.default_rng(0).normal(size=(2, 3, 4, 2))


def made(dtype):
    """Two blocks that are computed one after the other, with weights that are all drawn."""
    blocks = [Chain([ResidualBlock(3), MapAttention()], dtype=dtype), ResidualBlock(2, dtype=dtype)]
    blocks[0].build((None, 3, 4, 2))
    blocks[1].build((None, 3, 4, 3))
    random = np.random.default_rng(1)
    for variable in (variable for block in blocks for variable in block.variables):
        variable.assign(random.normal(0.0, 0.5, variable.shape))
    return blocks


@pytest.fixture(scope="module")
def blocks():
    return made("float64")


def plain(blocks, value):
    return run_chain(blocks, value, training=True)


def checkpointed(blocks, value):
    for block in blocks:
        value = recomputed(block, value, training=True)
    return value


def loss_and_gradients(way, blocks, factor=1.0):
    """Of the variables, and of the input last."""
    variables = [variable.value for block in blocks for variable in block.trainable_variables]
    features = tf.cast(factor, tf.float64) * FEATURES
    with tf.GradientTape() as tape:
        tape.watch(features)
        loss = tf.reduce_sum(tf.square(tf.cast(way(blocks, features), tf.float64) - FEATURES))
    return loss, *tape.gradient(loss, [*variables, features])


def in_a_loop(way, blocks):
    """The sum over three steps of a loop, as compiled training has them."""

    def body(step, totals):
        found = loss_and_gradients(way, blocks, step)
        return step + 1, tuple(map(tf.add, totals, found))

    first = loss_and_gradients(way, blocks)
    return tf.while_loop(lambda step, _: step < 4, body, (tf.constant(2), first))[1]


def check_equal(run, blocks, tolerance=1e-12):
    expected, found = (run(way, blocks) for way in (plain, checkpointed))
    scale = max(np.abs(np.asarray(each, "float64")).max() for each in expected[1:])
    assert scale > 1.0
    for one, other in zip(expected, found, strict=True):
        np.testing.assert_allclose(other, one, rtol=tolerance, atol=tolerance * scale)


def test_loss_and_gradients_are_those_without(blocks):
    check_equal(loss_and_gradients, blocks)


@pytest.mark.families
def test_loss_and_gradients_are_those_without_in_a_compiled_loop(blocks):
    check_equal(lambda *way: tf.function(lambda: in_a_loop(*way), autograph=False)(), blocks)


@pytest.mark.families
def test_loss_and_gradients_are_those_without_under_xla(blocks):
    compiled = {"autograph": False, "jit_compile": True}
    check_equal(lambda *way: tf.function(lambda: loss_and_gradients(*way), **compiled)(), blocks)


@pytest.mark.slow
def test_loss_and_gradients_are_those_without_in_half_precision():
    """To the last bit: the same products of the same rounded weights."""
    check_equal(loss_and_gradients, made("mixed_bfloat16"), 0.0)


@pytest.mark.slow
def test_the_second_pass_of_a_block_waits_for_the_gradient_in_a_graph(blocks):
    """Else TensorFlow would find that it computes the same as the first, and keep that one's tensors."""

    def upstream_of(operation, found):
        for tensor in operation.inputs:
            if tensor.op.name not in found:
                found[tensor.op.name] = tensor.op.type
                upstream_of(tensor.op, found)
        return found

    traced = tf.function(lambda: loss_and_gradients(checkpointed, blocks), autograph=False)
    operations = traced.get_concrete_function().graph.get_operations()
    before = [upstream_of(each, {}).values() for each in operations if each.type == "Conv2D"]
    # Both residual blocks have three, each twice; those of the first have something to wait for.
    assert len(before) == 12
    assert sum("Conv2DBackpropInput" in each for each in before) == 3


class NotedBlock(ResidualBlock):
    """Notes its calls."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.calls = []

    def call(self, features, training=None):
        self.calls.append(training)
        return super().call(features, training)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("recompute", "training", "calls"), [(True, True, 2), (True, False, 1), (False, True, 1)]
)
def test_the_blocks_of_a_net_are_called_again_in_training_only(recompute, training, calls, monkeypatch):
    monkeypatch.setattr("vaeflow.layers.attention_maps.ResidualBlock", NotedBlock)
    keras.utils.set_random_seed(0)
    encoder = AttentionMapEncoder((2,), 1, recompute=recompute)
    encoder.build((None, 2, 2, 1))
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(encoder(np.ones((1, 2, 2, 1), "float32"), training=training))
    tape.gradient(loss, encoder.trainable_variables)
    assert [each.calls for each in encoder.blocks if isinstance(each, NotedBlock)] == [[training] * calls] * 3
