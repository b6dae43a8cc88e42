"""Group normalization, and SiLU after it, in fewer passes over the features.

It equals `keras.layers.GroupNormalization` up to rounding, and so do its gradients, which are
written out. With a SiLU apart after it, forward and backward on 64 images of 32x32x64 take 32 ms of
processor time instead of 50. Tested in `tests/kernels/test_group_normalization.py`.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from vaeflow.kernels.silu import silu

# XLA compiles for each shape that it meets; maps of fewer pixels are too small a part of a step.
_FEWEST_PIXELS = 256


class GroupNormalization(keras.layers.GroupNormalization):
    """Keras' layer, with the same weights; faster on CPU.

    Wu & He 2018 (arXiv:1803.08494, Eq. 1, 2, 7). Features `[B, H, W, C]` are averaged over
    the image first, which is fast, and then over the few channels of a group. Keras
    computes other ranks and settings.

    In a graph, in training on a CPU, what acts on single features is compiled by XLA where SiLU follows and
    a map has at least 16x16 pixels, in every compile mode. A step of the benchmark's residual net takes
    8 % less processor time so, and its first step 1 s more.
    """

    def call(self, inputs: tf.Tensor, training: bool | None = None, then_silu: bool = False) -> Any:
        """Normalizes `[B, H, W, C]`, in float32 under mixed precision.

        Args:
          inputs: the features.
          training: whether they are of a training step.
          then_silu: whether to apply SiLU to the result too.
        """
        if inputs.shape.rank != 4 or self.axis not in (-1, 3) or not (self.scale and self.center):
            normalized = super().call(inputs)
            return silu(normalized) if then_silu else normalized
        is_joint = then_silu and training and _is_worth_compiling(inputs)
        normalize = _normalization(self.groups, self.epsilon, _WITH_SILU if is_joint else _ALONE)
        dtype = tf.float64 if inputs.dtype == tf.float64 else tf.float32
        values = inputs, tf.convert_to_tensor(self.gamma), tf.convert_to_tensor(self.beta)
        output = tf.cast(normalize(*(tf.cast(value, dtype) for value in values)), self.compute_dtype)
        return silu(output) if then_silu and not is_joint else output


class _Passes(NamedTuple):
    """The passes over all features `[B, H, W, C]`; slope, beta and other factors are `[B, 1, 1, C]` or `[C]`.

    What is compiled takes a pair of features and their mean in place of centred features, and so needs no
    copy of them.

    Attributes:
      output: of centred features, slope and beta.
      gradients: of the output's gradient, centred features, slope and beta: the gradient of
        the normalized features, and its product with the centred ones.
      feature_gradient: of the gradient of the normalized features, centred features, slope, and the
        gradients through variance and mean.
    """

    output: Callable[..., Any]
    gradients: Callable[..., Any]
    feature_gradient: Callable[..., Any]


def _scaled(centred, slope, beta):
    return centred * slope + beta


def _gradients(upstream, centred, _slope, _beta):
    return upstream, upstream * centred


def _feature_gradient(upstream, centred, slope, through_variance, through_mean):
    return upstream * slope - (centred * through_variance + through_mean)


def _scaled_silu(centred, slope, beta):
    scaled = _scaled(centred, slope, beta)
    return scaled * tf.sigmoid(scaled)


def _silu_gradients(upstream, centred, slope, beta):
    scaled = _scaled(centred, slope, beta)
    sigmoid = tf.sigmoid(scaled)
    return _gradients(upstream * sigmoid * (1 + scaled * (1 - sigmoid)), centred, slope, beta)


def _compiled(function):
    # One function for all layers, so that XLA compiles once for each shape.
    @functools.partial(tf.function, jit_compile=True, autograph=False)
    def traced(*arguments):
        return function(*[each[0] - each[1] if isinstance(each, tuple) else each for each in arguments])

    def call(*tensors):
        # A call of `traced` would warn that it is traced often.
        return traced.get_concrete_function(*tensors)(*tensors)

    return call


_ALONE = _Passes(_scaled, _gradients, _feature_gradient)
_WITH_SILU = _Passes(*map(_compiled, (_scaled_silu, _silu_gradients, _feature_gradient)))


def _is_worth_compiling(features):
    height, width = features.shape[1:3]
    is_large = height is not None and width is not None and height * width >= _FEWEST_PIXELS
    # What runs once, as the trial of a first batch does, is not worth it either.
    return is_large and not tf.executing_eagerly() and not tf.config.list_logical_devices("GPU")


def _normalization(num_groups: int, epsilon: float, passes: _Passes) -> Any:
    """Makes a function from features `[B, H, W, C]`, gamma and beta `[C]` to normalized features."""

    def image_sums(values):
        return grouped(tf.reduce_sum(values, (1, 2)))

    def image_means(values):
        return grouped(tf.reduce_mean(values, (1, 2)))

    def grouped(values):
        """`[..., C]` as `[B, G, C / G]`, or `[1, G, C / G]`."""
        return tf.reshape(values, (-1, num_groups, values.shape[-1] // num_groups))

    def group_means(values):
        return tf.reduce_mean(values, -1, keepdims=True)

    def spread(values, channels):
        """Gives each channel the value of its group, of `[B, G, 1]`; `tf.repeat` takes ten operations."""
        return tf.reshape(tf.tile(values, (1, 1, channels // num_groups)), (-1, 1, 1, channels))

    @tf.custom_gradient
    def normalize(features, gamma, beta):
        channels, grouped_gamma = features.shape[-1], grouped(gamma)
        mean = spread(group_means(image_means(features)), channels)
        variance = group_means(image_means(tf.math.squared_difference(features, mean)))
        centred = (features, mean) if passes is _WITH_SILU else features - mean
        scale = tf.math.rsqrt(variance + epsilon)
        grouped_slope = scale * grouped_gamma
        slope = tf.reshape(grouped_slope, (-1, 1, 1, channels))

        def gradient(upstream):
            upstream, product = passes.gradients(upstream, centred, slope, beta)
            beta_gradient = image_sums(upstream)
            gamma_gradient = image_sums(product) * scale
            # Each feature also moves the mean and variance of its group.
            per_pixel = scale / _num_pixels(features)
            through_mean = per_pixel * group_means(beta_gradient * grouped_gamma)
            through_variance = per_pixel * group_means(gamma_gradient * grouped_slope)
            through = spread(through_variance, channels), spread(through_mean, channels)
            return (
                passes.feature_gradient(upstream, centred, slope, *through),
                tf.reshape(tf.reduce_sum(gamma_gradient, 0), (channels,)),
                tf.reshape(tf.reduce_sum(beta_gradient, 0), (channels,)),
            )

        return passes.output(centred, slope, beta), gradient

    return normalize


def _num_pixels(features):
    """Returns H W of `[B, H, W, C]`, in the features' dtype."""
    height, width = features.shape[1:3]
    if height is not None and width is not None:
        return tf.constant(height * width, features.dtype)
    return tf.cast(tf.reduce_prod(tf.shape(features)[1:3]), features.dtype)
