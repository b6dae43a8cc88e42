"""Gradient checkpointing: computing a block again in the backward pass, in place of keeping it."""

from typing import Any

import keras
import tensorflow as tf


def recomputed(block: keras.layers.Layer, value: tf.Tensor, training: bool | None = None) -> tf.Tensor:
    """Calls a layer, and calls it again for its gradient (Chen et al. 2016, arXiv:1604.06174, section 4).

    Between the two passes only its input is kept. Output and gradients are those of a plain call.
    The layer must compute the same both times: it draws no noise, tracks no loss and changes no variable.

    Its weights are read here, once, and go in as tensors. So they get their gradients the usual way,
    on any number of replicas and inside a loop, where `tf.recompute_grad` depends on finding
    out which variables a layer reads.

    Args:
      block: a built layer.
      value: its input, `[b, …]`.
      training: whether it behaves as in training.

    Returns:
      Its output, `[b, …]`.
    """
    variables = block.variables

    def run(value, weights):
        with keras.StatelessScope(list(zip(variables, weights, strict=True))):
            return block(value, training=training)

    @tf.custom_gradient
    def call(value, *weights):
        def gradient(upstream):
            inputs = [_after(upstream, value), *map(tf.identity, weights)]
            with tf.GradientTape() as tape:
                tape.watch(inputs)
                output = run(inputs[0], inputs[1:])
            return tape.gradient(output, inputs, upstream, tf.UnconnectedGradients.ZERO)

        # No tape follows what comes after a stopped gradient, so that none keeps it.
        kept, *kept_weights = map(tf.stop_gradient, (value, *weights))
        return run(kept, kept_weights), gradient

    output: Any = call(value, *map(tf.convert_to_tensor, variables))
    return output


def _after(upstream: tf.Tensor, value: Any) -> tf.Tensor:
    """Returns `value`, in a graph as one that depends on the gradient `upstream`.

    Else a compiler would find that the same is computed twice, and keep the first. It may ignore a
    mere order of the operations, so a zero that is made of a number of the gradient is added.
    """
    if tf.executing_eagerly():
        return tf.identity(value)
    number = tf.reduce_max(tf.reshape(upstream, [-1])[:1])
    # A comparison that no compiler decides, since it fails for NaN.
    zero = tf.where(number == number, tf.zeros_like(number), number)
    return value + tf.cast(zero, value.dtype)
