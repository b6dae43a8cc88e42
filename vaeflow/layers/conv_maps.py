"""Convolutional encoder and decoder of maps: latents that keep a place in the image."""

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from vaeflow import registry, validation
from vaeflow.errors import ConfigurationError
from vaeflow.layers.base import (
    CHANNELS_LAST,
    Decoder,
    Layer,
    Shape,
    build_chain,
    last_kernel_of,
    normalization_layer,
    run_chain,
)
from vaeflow.layers.conv import (
    checked_filters,
    decoder_sizes,
    per_layer,
    strided_convolutions,
    transposed_convolutions,
)


def retraced_sizes(decoder: Decoder, strides: Sequence[int], map_shape: Shape) -> tuple[list[int], list[int]]:
    """Lists the heights and widths from a map to the images of a decoder, smallest first.

    Args:
      decoder: knows the size of images.
      strides: of its transposed convolutions.
      map_shape: `(None, h, w, F)`.

    Raises:
      ConfigurationError: the images are not those of such a map.
    """
    heights, widths = decoder_sizes(decoder, strides)
    if (heights[0], widths[0]) != tuple(map_shape[1:3]):
        raise ConfigurationError(
            f"the strides {tuple(strides)} of {type(decoder).__name__} make images of "
            f"{heights[-1]}x{widths[-1]} of maps of {heights[0]}x{widths[0]}, and the map is "
            f"{map_shape[1]}x{map_shape[2]}; give it the strides of the encoder in reverse"
        )
    return heights, widths


@registry.layer
class ConvMapEncoder(Layer):
    """Strided convolutions: images `[B, H, W, C]` to a map `[B, h, w, F]`.

    With strides that multiply to s, h is H / s, rounded up.

    Args:
      filters: the number of filters of each convolution; F is the last of them.
      kernel_size: one size for all convolutions, or a list with one for each.
      strides: one stride for all convolutions, or a list with one for each.
      activation: the name of a Keras activation, after each convolution.
      normalization: `"group"`, `"layer"` or None, after each convolution.

    Raises:
      ValueError: a setting is out of range.
    """

    def __init__(
        self,
        filters: Sequence[int] = (32, 64),
        kernel_size: int | Sequence[int] = 4,
        strides: int | Sequence[int] = 2,
        activation: str = "relu",
        normalization: str | None = None,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        filters = checked_filters("ConvMapEncoder.filters", filters)
        kernel_sizes = per_layer("ConvMapEncoder.kernel_size", kernel_size, len(filters))
        strides = per_layer("ConvMapEncoder.strides", strides, len(filters))
        validation.one_of("ConvMapEncoder.normalization", normalization, ("group", "layer", None))
        self.blocks = strided_convolutions(filters, kernel_sizes, strides, activation, normalization)

    def build(self, input_shape: Shape) -> None:
        build_chain(self.blocks, input_shape, self.dtype_policy)

    def call(self, images: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        return run_chain(self.blocks, images, training)


@registry.layer
class ConvMapDecoder(Decoder):
    """A convolution, then transposed ones: a map `[B, h, w, F]` to `[B, H, W, C]`.

    It retraces the sizes of a `ConvMapEncoder` with the same strides, and crops the extra row
    and column where a size is odd. The map is activated first, so that it may be a sum.

    Args:
      filters: the number of channels of the 3x3 convolution, then of each transposed
        convolution but the last, which outputs C channels.
      kernel_size: one size for all transposed convolutions, or a list with one for each.
      strides: one stride for all transposed convolutions, or a list with one for each.
      activation: the name of a Keras activation.
      normalization: `"group"`, `"layer"` or None, after each convolution but the last.
      target_shape: `(H, W, C)`, see `Decoder`.

    Raises:
      ConfigurationError: the map has another size than the strides make of the image.
      ValueError: a setting is out of range.
    """

    latents_rank = 4

    def __init__(
        self,
        filters: Sequence[int] = (64, 32),
        kernel_size: int | Sequence[int] = 4,
        strides: int | Sequence[int] = 2,
        activation: str = "relu",
        normalization: str | None = None,
        target_shape: Sequence[int] | None = None,
        **kwargs: Any,
    ):
        super().__init__(target_shape, **kwargs)
        self.filters = checked_filters("ConvMapDecoder.filters", filters)
        self.kernel_sizes = per_layer("ConvMapDecoder.kernel_size", kernel_size, len(self.filters))
        self.strides = per_layer("ConvMapDecoder.strides", strides, len(self.filters))
        self.activation = activation
        self.normalization = validation.one_of(
            "ConvMapDecoder.normalization", normalization, ("group", "layer", None)
        )

    def build(self, input_shape: Shape) -> None:
        sizes = retraced_sizes(self, self.strides, input_shape)
        filters = (*self.filters[1:], self.checked_target_shape()[-1])
        self.blocks = [
            keras.layers.Activation(self.activation),
            keras.layers.Conv2D(self.filters[0], 3, padding="same", **CHANNELS_LAST),
            *self._activated(self.filters[0]),
            *transposed_convolutions(filters, self.kernel_sizes, self.strides, sizes, self._activated),
        ]
        build_chain(self.blocks, input_shape, self.dtype_policy)

    @property
    def last_kernel(self) -> keras.Variable:
        return last_kernel_of(self.blocks)

    def call(self, features: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        return run_chain(self.blocks, features, training)

    def _activated(self, count):
        return [*normalization_layer(self.normalization, count), keras.layers.Activation(self.activation)]
