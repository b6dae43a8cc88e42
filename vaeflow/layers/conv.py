"""Convolutional encoder and decoder for images of any size."""

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import keras
import tensorflow as tf

from vaeflow import registry, validation
from vaeflow.kernels.conv2d import Conv2D
from vaeflow.kernels.conv2d_transpose import Conv2DTranspose
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
from vaeflow.layers.dense import dense_stack


def checked_filters(name: str, filters: Sequence[int]) -> tuple[int, ...]:
    """Returns a tuple of at least one positive integer; else raises `ValueError`."""
    filters = validation.positive_integers(name, filters)
    if not filters:
        raise ValueError(f"`{name}` must name at least one number of filters, got none")
    return filters


def per_layer(
    name: str, value: int | Sequence[int], num_layers: int, each: str = "of `filters`"
) -> tuple[int, ...]:
    """Returns one positive integer for each layer, from a single one or from a list.

    Args:
      name: the setting as a user writes it, for the error.
      value: a positive integer, or a list of `num_layers` of them.
      num_layers: the number of layers.
      each: of what each number is one, for the error.

    Raises:
      ValueError: `value` is neither.
    """
    if not isinstance(value, (list, tuple)):
        return (validation.positive_integer(name, value),) * num_layers
    values = validation.positive_integers(name, value)
    if len(values) != num_layers:
        raise ValueError(
            f"`{name}` must be an integer or a list of {num_layers} integers (one for each {each}), "
            f"got {value!r}"
        )
    return values


def strided_sizes(size: int, strides: Iterable[int]) -> list[int]:
    """Lists an image's size before and after each of several strided "same" convolutions.

    Example: `strided_sizes(28, (2, 2, 2))` is `[28, 14, 7, 4]`.
    """
    sizes = [size]
    for stride in strides:
        sizes.append(math.ceil(sizes[-1] / stride))
    return sizes


def strided_convolutions(
    filters: Sequence[int],
    kernel_sizes: Sequence[int],
    strides: Sequence[int],
    activation: str,
    normalization: str | None,
) -> list[keras.layers.Layer]:
    """Makes "same" convolutions, each normalized and activated; arguments as for `ConvEncoder`."""
    blocks: list[keras.layers.Layer] = []
    for count, size, stride in zip(filters, kernel_sizes, strides, strict=True):
        blocks.append(Conv2D(count, size, stride, padding="same", **CHANNELS_LAST))
        blocks.extend(normalization_layer(normalization, count))
        blocks.append(keras.layers.Activation(activation))
    return blocks


def transposed_convolutions(
    filters: Sequence[int],
    kernel_sizes: Sequence[int],
    strides: Sequence[int],
    sizes: Sequence[Sequence[int]],
    between: Callable[[int], list[keras.layers.Layer]],
) -> list[keras.layers.Layer]:
    """Makes transposed convolutions that retrace the sizes of strided ones.

    Args:
      filters: the number of filters of each.
      kernel_sizes: the size of each kernel.
      strides: the stride of each.
      sizes: the heights and the widths, smallest first, one more than convolutions: an image that
        is a row or column too large is cropped.
      between: makes the layers that follow each but the last; called with its number of filters.
    """
    blocks: list[keras.layers.Layer] = []
    for index, (count, size, stride) in enumerate(zip(filters, kernel_sizes, strides, strict=True)):
        blocks.append(Conv2DTranspose(count, size, stride, padding="same", **CHANNELS_LAST))
        excess = [each[index] * stride - each[index + 1] for each in sizes]
        if any(excess):
            blocks.append(keras.layers.Cropping2D(((0, excess[0]), (0, excess[1]))))
        if index < len(filters) - 1:
            blocks.extend(between(count))
    return blocks


def decoder_sizes(decoder: Decoder, strides: Sequence[int]) -> tuple[list[int], list[int]]:
    """Lists the heights and widths that a decoder with such strides passes through, smallest first."""
    height, width, _ = decoder.checked_target_shape()
    heights, widths = (strided_sizes(size, strides[::-1])[::-1] for size in (height, width))
    return heights, widths


@registry.layer
class ConvEncoder(Layer):
    """Strided convolutions, then dense layers: `[B, H, W, C]` to `[B, F]`.

    The default is the 64x64 net of Burgess et al. 2018 (arXiv:1804.03599, appendix):
    four 4x4 stride-2 convolutions with 32 filters and two dense layers of 256. The
    net of disentanglement_lib (Locatello et al. 2019, arXiv:1811.12359, table 1) is
    `filters = (32, 32, 64, 64)`, `kernel_size = (4, 4, 2, 2)`, `units = (256,)`.

    Args:
      filters: the number of filters of each convolution.
      kernel_size: one size for all convolutions, or a list with one for each.
      strides: one stride for all convolutions, or a list with one for each.
      units: widths of the dense layers. F is the last of them; without any, F is the
        flattened size.
      activation: the name of a Keras activation.
      normalization: `"group"`, `"layer"` or None, after each convolution.

    Raises:
      ValueError: a setting is out of range.
    """

    def __init__(
        self,
        filters: Sequence[int] = (32, 32, 32, 32),
        kernel_size: int | Sequence[int] = 4,
        strides: int | Sequence[int] = 2,
        units: Sequence[int] = (256, 256),
        activation: str = "relu",
        normalization: str | None = None,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        filters = validation.positive_integers("ConvEncoder.filters", filters)
        kernel_sizes = per_layer("ConvEncoder.kernel_size", kernel_size, len(filters))
        strides = per_layer("ConvEncoder.strides", strides, len(filters))
        units = validation.positive_integers("ConvEncoder.units", units)
        validation.one_of("ConvEncoder.normalization", normalization, ("group", "layer", None))
        self.blocks = strided_convolutions(filters, kernel_sizes, strides, activation, normalization)
        self.blocks += [keras.layers.Flatten(**CHANNELS_LAST), *dense_stack(units, activation)]

    def build(self, input_shape: Shape) -> None:
        build_chain(self.blocks, input_shape, self.dtype_policy)

    def call(self, images: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        return run_chain(self.blocks, images, training)


@registry.layer
class ConvDecoder(Decoder):
    """Dense layers, then transposed convolutions: `[B, D]` to `[B, H, W, C]`.

    It retraces the sizes of a `ConvEncoder` with the same strides, and crops the extra row
    and column where a size is odd. The default is the 64x64 net of Burgess et al. 2018
    (arXiv:1804.03599, appendix). The decoder of disentanglement_lib is
    `filters = (64, 64, 32, 32)`, `units = (256,)`.

    Args:
      filters: the number of channels that the dense layers output, then of each transposed
        convolution but the last, which outputs C channels.
      kernel_size: one size for all transposed convolutions, or a list with one for each.
      strides: one stride for all transposed convolutions, or a list with one for each.
      units: widths of the dense layers before the first feature map.
      activation: the name of a Keras activation.
      normalization: `"group"`, `"layer"` or None, after each hidden transposed
        convolution.
      target_shape: `(H, W, C)`, see `Decoder`.

    Raises:
      ValueError: a setting is out of range.
    """

    def __init__(
        self,
        filters: Sequence[int] = (32, 32, 32, 32),
        kernel_size: int | Sequence[int] = 4,
        strides: int | Sequence[int] = 2,
        units: Sequence[int] = (256, 256),
        activation: str = "relu",
        normalization: str | None = None,
        target_shape: Sequence[int] | None = None,
        **kwargs: Any,
    ):
        super().__init__(target_shape, **kwargs)
        self.filters = checked_filters("ConvDecoder.filters", filters)
        self.kernel_sizes = per_layer("ConvDecoder.kernel_size", kernel_size, len(self.filters))
        self.strides = per_layer("ConvDecoder.strides", strides, len(self.filters))
        self.units = validation.positive_integers("ConvDecoder.units", units)
        self.activation = activation
        self.normalization = validation.one_of(
            "ConvDecoder.normalization", normalization, ("group", "layer", None)
        )

    def build(self, input_shape: Shape) -> None:
        heights, widths = decoder_sizes(self, self.strides)
        start = (heights[0], widths[0], self.filters[0])
        self.blocks = dense_stack((*self.units, math.prod(start)), self.activation)
        self.blocks.append(keras.layers.Reshape(start))

        def between(count):
            normalization = normalization_layer(self.normalization, count)
            return [*normalization, keras.layers.Activation(self.activation)]

        outputs = (*self.filters[1:], self.checked_target_shape()[-1])
        self.blocks += transposed_convolutions(
            outputs, self.kernel_sizes, self.strides, (heights, widths), between
        )
        build_chain(self.blocks, input_shape, self.dtype_policy)

    @property
    def last_kernel(self) -> keras.Variable:
        return last_kernel_of(self.blocks)

    def call(self, latents: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        return run_chain(self.blocks, latents, training)
