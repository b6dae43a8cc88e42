"""A dense layer whose gradient with respect to its input is faster on CPU.

It equals `keras.layers.Dense` up to rounding. For that gradient, dY Wᵀ, oneDNN reads the kernel W against
its order in memory, which takes long where W is not in the cache. Here it is (W dYᵀ)ᵀ: W is read in order,
and what is transposed is small. For 64 examples and a kernel of 3136x256 that comes from memory it takes
0.62 ms of processor time instead of 0.70, and for one of 256x3136 0.64 instead of 0.94. A step of conv28_128
takes 2.7 % less. Tested in `tests/kernels/test_dense.py`.
"""

from typing import Any

import keras
import tensorflow as tf


class Dense(keras.layers.Dense):
    """Keras' layer, with the same weights.

    On a GPU, and for features of other ranks than 2, Keras computes everything.
    """

    def call(self, inputs: tf.Tensor, training: bool | None = None) -> Any:
        """Maps `[B, F]` to `[B, units]`."""
        if inputs.shape.rank != 2 or tf.config.list_logical_devices("GPU"):
            return super().call(inputs, training=training)
        outputs = _product(inputs, tf.convert_to_tensor(self.kernel))
        if self.use_bias:
            outputs = tf.nn.bias_add(outputs, tf.convert_to_tensor(self.bias))
        return outputs if self.activation is None else self.activation(outputs)


@tf.custom_gradient
def _product(inputs: Any, kernel: Any) -> Any:
    def gradient(upstream):
        return (
            tf.transpose(tf.matmul(kernel, upstream, transpose_b=True)),
            tf.matmul(inputs, upstream, transpose_a=True),
        )

    return tf.matmul(inputs, kernel), gradient
