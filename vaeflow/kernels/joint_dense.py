"""Several dense layers of the same features in one matrix product."""

import tensorflow as tf


def joint_dense(features, *layers):
    """Computes linear Keras `Dense` layers as one: the product takes as long as that of either.

    Args:
      features: `[B, F]`.
      *layers: built layers with a bias, without an activation, and equally many units.

    Returns:
      A tuple of what each layer gives, `[B, units]`.
    """
    kernel = tf.concat([tf.convert_to_tensor(layer.kernel) for layer in layers], axis=-1)
    bias = tf.concat([tf.convert_to_tensor(layer.bias) for layer in layers], axis=-1)
    return tuple(tf.split(tf.nn.bias_add(tf.matmul(features, kernel), bias), len(layers), axis=-1))
