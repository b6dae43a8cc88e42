"""Convolutional encoder and decoder for images of any size."""

import math

import keras

from vaeflow import registry, validation
from vaeflow.kernels.conv2d_transpose import Conv2DTranspose
from vaeflow.layers.base import Decoder, Layer, build_chain, normalization_layer, run_chain
from vaeflow.layers.dense import dense_stack


def per_layer(name, value, num_layers):
    """Spreads one positive integer over the layers, or checks a list of one for each."""
    if not isinstance(value, (list, tuple)):
        return (validation.positive_integer(name, value),) * num_layers
    values = validation.positive_integers(name, value)
    if len(values) != num_layers:
        raise ValueError(
            f"`{name}` must be an integer or a list of {num_layers} (one for each of `filters`), "
            f"got {value!r}"
        )
    return values


def sizes_before_stride(size, strides):
    """Lists the sizes that stride-s "same" convolutions pass through, the last one last.

    Example: `sizes_before_stride(28, (2, 2, 2))` is `[28, 14, 7, 4]`.
    """
    sizes = [size]
    for stride in strides:
        sizes.append(math.ceil(sizes[-1] / stride))
    return sizes


@registry.layer
class ConvEncoder(Layer):
    """Strided convolutions, then dense layers: `[B, H, W, C]` to `[B, F]`.

    The default is the 64x64 net of Burgess et al. 2018 (arXiv:1804.03599, appendix):
    four 4x4 stride-2 convolutions with 32 filters and two dense layers of 256. The
    net of disentanglement_lib (Locatello et al. 2019, arXiv:1811.12359, table 1) is
    `filters = (32, 32, 64, 64)`, `kernel_size = (4, 4, 2, 2)`, `units = (256,)`.

    Args:
      filters: the number of filters of each convolution.
      kernel_size: of all convolutions, or a list of one for each.
      strides: likewise.
      units: widths of the dense layers; F is the last one, or the flattened size.
      activation: a Keras activation name.
      normalization: `"group"`, `"layer"` or None, after each convolution.
    """

    def __init__(
        self,
        filters=(32, 32, 32, 32),
        kernel_size=4,
        strides=2,
        units=(256, 256),
        activation="relu",
        normalization=None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        filters = validation.positive_integers("ConvEncoder.filters", filters)
        kernel_sizes = per_layer("ConvEncoder.kernel_size", kernel_size, len(filters))
        strides = per_layer("ConvEncoder.strides", strides, len(filters))
        units = validation.positive_integers("ConvEncoder.units", units)
        validation.one_of("ConvEncoder.normalization", normalization, ("group", "layer", None))
        self.blocks = []
        for count, size, stride in zip(filters, kernel_sizes, strides):
            self.blocks.append(keras.layers.Conv2D(count, size, stride, padding="same"))
            self.blocks.extend(normalization_layer(normalization, count))
            self.blocks.append(keras.layers.Activation(activation))
        self.blocks += [keras.layers.Flatten(), *dense_stack(units, activation)]

    def build(self, input_shape):
        build_chain(self.blocks, input_shape, self.dtype_policy)

    def call(self, images, training=None):
        return run_chain(self.blocks, images, training)


@registry.layer
class ConvDecoder(Decoder):
    """Dense layers, then transposed convolutions: `[B, D]` to `[B, H, W, C]`.

    It retraces the sizes of a `ConvEncoder` with the same strides; where a size is
    odd, the row and column too many are cropped. The default is the 64x64 net of
    Burgess et al. 2018 (arXiv:1804.03599, appendix). The decoder of
    disentanglement_lib is `filters = (64, 64, 32, 32)`, `units = (256,)`.

    Args:
      filters: channels of the feature map that the dense layers make, then of each
        transposed convolution but the last, which makes the C channels.
      kernel_size: of all transposed convolutions, or a list of one for each.
      strides: likewise.
      units: widths of the dense layers before the feature map.
      activation: a Keras activation name.
      normalization: `"group"`, `"layer"` or None, after each hidden transposed
        convolution.
      target_shape: `(H, W, C)`, see `Decoder`.
    """

    def __init__(
        self,
        filters=(32, 32, 32, 32),
        kernel_size=4,
        strides=2,
        units=(256, 256),
        activation="relu",
        normalization=None,
        target_shape=None,
        **kwargs,
    ):
        super().__init__(target_shape, **kwargs)
        self.filters = validation.positive_integers("ConvDecoder.filters", filters)
        if not self.filters:
            raise ValueError("`ConvDecoder.filters` must name at least one number of filters, got none")
        self.kernel_sizes = per_layer("ConvDecoder.kernel_size", kernel_size, len(self.filters))
        self.strides = per_layer("ConvDecoder.strides", strides, len(self.filters))
        self.units = validation.positive_integers("ConvDecoder.units", units)
        self.activation = activation
        self.normalization = validation.one_of(
            "ConvDecoder.normalization", normalization, ("group", "layer", None)
        )

    def build(self, input_shape):
        height, width, channels = self.checked_target_shape()
        encoder_strides = self.strides[::-1]
        heights = sizes_before_stride(height, encoder_strides)[::-1]
        widths = sizes_before_stride(width, encoder_strides)[::-1]
        start = (heights[0], widths[0], self.filters[0])
        self.blocks = dense_stack((*self.units, math.prod(start)), self.activation)
        self.blocks.append(keras.layers.Reshape(start))
        outputs = (*self.filters[1:], channels)
        for index, (count, size, stride) in enumerate(zip(outputs, self.kernel_sizes, self.strides)):
            self.blocks.append(Conv2DTranspose(count, size, stride, padding="same"))
            excess = (
                heights[index] * stride - heights[index + 1],
                widths[index] * stride - widths[index + 1],
            )
            if any(excess):
                self.blocks.append(keras.layers.Cropping2D(((0, excess[0]), (0, excess[1]))))
            if index < len(outputs) - 1:
                self.blocks.extend(normalization_layer(self.normalization, count))
                self.blocks.append(keras.layers.Activation(self.activation))
        build_chain(self.blocks, input_shape, self.dtype_policy)

    def call(self, latents, training=None):
        return run_chain(self.blocks, latents, training)
