"""Several dense layers of the same features in one matrix product.

It equals a call of each Keras `Dense` layer up to rounding. Reading the features dominates the
time, so the joint product takes as long as that of one layer. Tested in
`tests/kernels/test_joint_dense.py`.
"""

import keras
import tensorflow as tf


def joint_dense(features: tf.Tensor, *layers: keras.layers.Dense) -> tuple[tf.Tensor, ...]:
    """Computes linear Keras `Dense` layers as one.

    Args:
      features: `[B, F]`.
      *layers: built layers with a bias, no activation, and the same number of units.

    Returns:
      A tuple with the output of each layer, `[B, units]`.
    """
    kernel = tf.concat([tf.convert_to_tensor(layer.kernel) for layer in layers], axis=-1)
    bias = tf.concat([tf.convert_to_tensor(layer.bias) for layer in layers], axis=-1)
    return tuple(tf.split(tf.nn.bias_add(tf.matmul(features, kernel), bias), len(layers), axis=-1))
