"""Encoder and decoder of maps with residual units: latents that keep a place in the image."""

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from vaeflow import registry, validation
from vaeflow.layers.base import CHANNELS_LAST, Decoder, Layer, Shape, build_chain, last_kernel_of, run_chain
from vaeflow.layers.conv import checked_filters, strided_convolutions, transposed_convolutions
from vaeflow.layers.conv_maps import retraced_sizes

_KERNEL_SIZE = 4
_STRIDE = 2


class ResidualUnit(Layer):
    """A 3x3 and a 1x1 convolution and a shortcut around them, `[B, h, w, filters]` to the same.

    The activation comes before each convolution (van den Oord et al. 2017, arXiv:1711.00937,
    section 4.1).

    Args:
      filters: the number of channels, also of the input.
      hidden_filters: the number of channels between the convolutions.
      activation: the name of a Keras activation.
    """

    def __init__(self, filters: int, hidden_filters: int, activation: str = "relu", **kwargs: Any):
        super().__init__(**kwargs)
        self.blocks = [
            keras.layers.Activation(activation),
            keras.layers.Conv2D(hidden_filters, 3, padding="same", **CHANNELS_LAST),
            keras.layers.Activation(activation),
            keras.layers.Conv2D(filters, 1, **CHANNELS_LAST),
        ]

    def build(self, input_shape: Shape) -> None:
        build_chain(self.blocks, input_shape, self.dtype_policy)

    def call(self, features: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        return features + run_chain(self.blocks, features, training)


@registry.layer
class ResidualMapEncoder(Layer):
    """Strided convolutions, then residual units: `[B, H, W, C]` to a map of features `[B, h, w, F]`.

    The net of van den Oord et al. 2017 (arXiv:1711.00937, section 4.1): 4x4 convolutions, each
    of which halves the image and rounds up, and residual units. h is H / 2^S for S convolutions.

    Args:
      filters: the number of filters of each convolution; F is the last of them.
      num_residual_units: how many units follow.
      residual_filters: the number of channels inside a unit; None for F, as in the paper.
      activation: the name of a Keras activation.

    Raises:
      ValueError: a setting is out of range.
    """

    def __init__(
        self,
        filters: Sequence[int] = (256, 256),
        num_residual_units: int = 2,
        residual_filters: int | None = None,
        activation: str = "relu",
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        filters = checked_filters("ResidualMapEncoder.filters", filters)
        count = len(filters)
        sizes, strides = (_KERNEL_SIZE,) * count, (_STRIDE,) * count
        self.blocks = strided_convolutions(filters, sizes, strides, activation, None)
        # A unit begins with the activation, and so does what follows the last.
        self.blocks.pop()
        name = type(self).__name__
        self.blocks += _residual_units(name, filters[-1], num_residual_units, residual_filters, activation)
        self.blocks.append(keras.layers.Activation(activation))

    def build(self, input_shape: Shape) -> None:
        build_chain(self.blocks, input_shape, self.dtype_policy)

    def call(self, images: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        return run_chain(self.blocks, images, training)


@registry.layer
class ResidualMapDecoder(Decoder):
    """Residual units, then transposed convolutions: a map `[B, h, w, D]` to `[B, H, W, C]`.

    It retraces the sizes of a `ResidualMapEncoder` with as many convolutions, and crops the extra
    row and column where a size is odd. A 3x3 convolution, which the paper does not mention, gives
    the latents the channels of the units.

    Args:
      filters: the number of channels of the units, then of each transposed convolution but the
        last, which outputs C channels.
      num_residual_units: how many units come before.
      residual_filters: the number of channels inside a unit; None for that of the unit.
      activation: the name of a Keras activation.
      target_shape: `(H, W, C)`, see `Decoder`.

    Raises:
      ConfigurationError: the map has another size than the image halved by each convolution.
      ValueError: a setting is out of range.
    """

    latents_rank = 4

    def __init__(
        self,
        filters: Sequence[int] = (256, 256),
        num_residual_units: int = 2,
        residual_filters: int | None = None,
        activation: str = "relu",
        target_shape: Sequence[int] | None = None,
        **kwargs: Any,
    ):
        super().__init__(target_shape, **kwargs)
        self.filters = checked_filters("ResidualMapDecoder.filters", filters)
        self.activation = activation
        first = self.filters[0]
        name = type(self).__name__
        self.blocks = [
            keras.layers.Conv2D(first, 3, padding="same", **CHANNELS_LAST),
            *_residual_units(name, first, num_residual_units, residual_filters, activation),
            keras.layers.Activation(activation),
        ]

    def build(self, input_shape: Shape) -> None:
        strides = (_STRIDE,) * len(self.filters)
        sizes = retraced_sizes(self, strides, input_shape)
        channels = self.checked_target_shape()[-1]
        self.upsampling = transposed_convolutions(
            (*self.filters[1:], channels),
            (_KERNEL_SIZE,) * len(strides),
            strides,
            sizes,
            lambda _: [keras.layers.Activation(self.activation)],
        )
        build_chain([*self.blocks, *self.upsampling], input_shape, self.dtype_policy)

    @property
    def last_kernel(self) -> keras.Variable:
        return last_kernel_of(self.upsampling)

    def call(self, latents: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        return run_chain([*self.blocks, *self.upsampling], latents, training)


def _residual_units(owner, filters, count, hidden_filters, activation):
    validation.non_negative_integer(f"{owner}.num_residual_units", count)
    if hidden_filters is not None:
        validation.positive_integer(f"{owner}.residual_filters", hidden_filters)
    return [ResidualUnit(filters, hidden_filters or filters, activation) for _ in range(count)]
