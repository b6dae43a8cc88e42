"""A small residual encoder and decoder."""

import math
from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from vaeflow import registry, validation
from vaeflow.kernels.dense import Dense
from vaeflow.kernels.up_sampling import UpSampling2D
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
from vaeflow.layers.conv import checked_filters, decoder_sizes


class ResidualBlock(Layer):
    """Two 3x3 convolutions and a shortcut around them, `[B, H, W, C]` to `[B, H, W, filters]`.

    Normalization and activation come before each convolution (He et al. 2016,
    arXiv:1603.05027, Fig. 4e), with group normalization instead of batch
    normalization, so that examples do not depend on one another.

    Args:
      filters: the number of output channels.
      activation: the name of a Keras activation.
      num_groups, epsilon: of the normalization, see `normalization_layer`.
    """

    def __init__(
        self,
        filters: int,
        activation: str = "silu",
        num_groups: int = 8,
        epsilon: float = 1e-3,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.filters = filters
        self.activation = activation
        self.num_groups = num_groups
        self.epsilon = epsilon

    def build(self, input_shape: Any) -> None:
        self.blocks = []
        for channels in (input_shape[-1], self.filters):
            self.blocks += [
                *normalization_layer("group", channels, self.num_groups, self.epsilon),
                keras.layers.Activation(self.activation),
                keras.layers.Conv2D(self.filters, 3, padding="same", **CHANNELS_LAST),
            ]
        build_chain(self.blocks, input_shape, self.dtype_policy)
        same = input_shape[-1] == self.filters
        self.shortcut = (
            keras.layers.Identity() if same else keras.layers.Conv2D(self.filters, 1, **CHANNELS_LAST)
        )
        build_chain([self.shortcut], input_shape, self.dtype_policy)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """Tells the shape without a trial call, which in a deep net would take seconds."""
        return (*input_shape[:-1], self.filters)

    def call(self, features: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        return self.shortcut(features) + run_chain(self.blocks, features, training)


@registry.layer
class ResNetEncoder(Layer):
    """Residual stages, each at half the image size of the previous one: `[B, H, W, C]` to `[B, F]`.

    Args:
      filters: the number of channels of each stage.
      blocks_per_stage: the number of residual blocks in each stage.
      units: F, the width of the final dense layer.
      activation: the name of a Keras activation.

    Raises:
      ValueError: a setting is out of range.
    """

    def __init__(
        self,
        filters: Sequence[int] = (32, 64, 128, 128),
        blocks_per_stage: int = 1,
        units: int = 256,
        activation: str = "silu",
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        filters = validation.positive_integers("ResNetEncoder.filters", filters)
        validation.positive_integer("ResNetEncoder.blocks_per_stage", blocks_per_stage)
        validation.positive_integer("ResNetEncoder.units", units)
        self.blocks = []
        for count in filters:
            self.blocks.append(keras.layers.Conv2D(count, 3, strides=2, padding="same", **CHANNELS_LAST))
            self.blocks += [ResidualBlock(count, activation) for _ in range(blocks_per_stage)]
        self.blocks += [
            keras.layers.Activation(activation),
            keras.layers.Flatten(**CHANNELS_LAST),
            Dense(units, activation=activation),
        ]

    def build(self, input_shape: Shape) -> None:
        build_chain(self.blocks, input_shape, self.dtype_policy)

    def call(self, images: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        return run_chain(self.blocks, images, training)


@registry.layer
class ResNetDecoder(Decoder):
    """Residual stages, each at twice the image size of the previous one: `[B, D]` to `[B, H, W, C]`.

    Args:
      filters: the number of channels of each stage, smallest image first.
      blocks_per_stage: the number of residual blocks in each stage.
      activation: the name of a Keras activation.
      target_shape: `(H, W, C)`, see `Decoder`.

    Raises:
      ValueError: a setting is out of range.
    """

    def __init__(
        self,
        filters: Sequence[int] = (128, 128, 64, 32),
        blocks_per_stage: int = 1,
        activation: str = "silu",
        target_shape: Sequence[int] | None = None,
        **kwargs: Any,
    ):
        super().__init__(target_shape, **kwargs)
        self.filters = checked_filters("ResNetDecoder.filters", filters)
        self.blocks_per_stage = validation.positive_integer(
            "ResNetDecoder.blocks_per_stage", blocks_per_stage
        )
        self.activation = activation

    def build(self, input_shape: Shape) -> None:
        channels = self.checked_target_shape()[-1]
        heights, widths = decoder_sizes(self, (2,) * len(self.filters))
        start = (heights[0], widths[0], self.filters[0])
        self.blocks = [Dense(math.prod(start)), keras.layers.Reshape(start)]
        for index, count in enumerate(self.filters):
            self.blocks += [ResidualBlock(count, self.activation) for _ in range(self.blocks_per_stage)]
            self.blocks.append(UpSampling2D(2, **CHANNELS_LAST))
            excess = (2 * heights[index] - heights[index + 1], 2 * widths[index] - widths[index + 1])
            if any(excess):
                self.blocks.append(keras.layers.Cropping2D(((0, excess[0]), (0, excess[1]))))
        self.blocks += [
            *normalization_layer("group", self.filters[-1]),
            keras.layers.Activation(self.activation),
            keras.layers.Conv2D(channels, 3, padding="same", **CHANNELS_LAST),
        ]
        build_chain(self.blocks, input_shape, self.dtype_policy)

    @property
    def last_kernel(self) -> keras.Variable:
        return last_kernel_of(self.blocks)

    def call(self, latents: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        return run_chain(self.blocks, latents, training)
