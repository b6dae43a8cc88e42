"""Residual bottleneck blocks, and an encoder of them that gives maps of several sizes."""

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from vaeflow import registry, validation
from vaeflow.layers.base import CHANNELS_LAST, Chain, Layer, Shape, build_chain
from vaeflow.layers.conv import per_layer

# Maps of at most this height and width have 1x1 convolutions only.
_SMALL = 2


class BottleneckBlock(Layer):
    """Four convolutions, the middle two of few channels: `[B, h, w, F]` to `[B, h, w, filters]`.

    Child 2021 (arXiv:2011.10650, Fig. 3): 1x1, 3x3, 3x3 and 1x1, each after a GELU. On maps of at most
    2x2, where a 3x3 kernel would see little but the padding, all are 1x1. The GELU is the approximation by
    tanh (Hendrycks & Gimpel 2016, arXiv:1606.08415, section 2), which every export format knows.

    Args:
      filters: the number of output channels.
      hidden_filters: the number of channels between the convolutions.
      residual: whether the input, of `filters` channels too, is added to the output.
      scale: what the initial weights of the last convolution are multiplied by; 0 for an output of 0.
      precise: whether the last convolution computes in the dtype of its variables.
    """

    def __init__(
        self,
        filters: int,
        hidden_filters: int,
        residual: bool = False,
        scale: float = 1.0,
        precise: bool = False,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.filters, self.hidden_filters = filters, hidden_filters
        self.residual, self.scale, self.precise = residual, scale, precise

    def build(self, input_shape: Any) -> None:
        size = 1 if max(input_shape[1:3]) <= _SMALL else 3
        before = [_convolution(self.hidden_filters, each) for each in (1, size, size)]
        last = _convolution(self.filters, 1, self.scale)
        shape = build_chain(before, input_shape, self.dtype_policy)
        precise = keras.DTypePolicy(self.variable_dtype)
        build_chain([last], shape, precise if self.precise else self.dtype_policy)
        self.convolutions = [*before, last]

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """Tells the shape without a trial call, which in a deep net would take seconds."""
        return (*input_shape[:-1], self.filters)

    def call(self, features: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        value: Any = features
        for convolution in self.convolutions:
            value = convolution(tf.nn.gelu(value, approximate=True))
        return features + value if self.residual else value


@registry.layer
class BottleneckEncoder(Layer):
    """Bottleneck blocks on maps of falling size: images `[B, H, W, C]` to a list of maps, the largest first.

    The encoder of Child 2021 (arXiv:2011.10650, section 3): a 3x3 convolution, then residual blocks on
    maps of the size of the images, and on those that average pooling makes smaller. The last
    convolution of each block begins with weights that are multiplied by 1 / √N for N blocks. Where the
    number of channels grows, the new ones begin at 0. A size that a stride does not divide is rounded up.

    Args:
      filters: the number of channels of all maps, or a list with one for each.
      num_blocks: how many blocks each map has, or a list with a number for each.
      strides: by how much each pooling makes the map smaller; there is one map more than strides.
      bottleneck: the channels inside a block, as a share of those of its map.

    Raises:
      ValueError: a setting is out of range.
    """

    def __init__(
        self,
        filters: int | Sequence[int] = 64,
        num_blocks: int | Sequence[int] = 2,
        strides: Sequence[int] = (2, 2, 2),
        bottleneck: float = 0.25,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        name = type(self).__name__
        self.strides = validation.positive_integers(f"{name}.strides", strides)
        count = len(self.strides) + 1
        self.filters = per_layer(f"{name}.filters", filters, count, "map")
        self.num_blocks = per_layer(f"{name}.num_blocks", num_blocks, count, "map")
        self.bottleneck = validation.share(f"{name}.bottleneck", bottleneck)

    def build(self, input_shape: Shape) -> None:
        scale = sum(self.num_blocks) ** -0.5
        self.stem = _convolution(self.filters[0], 3)
        build_chain([self.stem], input_shape, self.dtype_policy)
        self.stages = [
            Chain(
                [
                    BottleneckBlock(filters, hidden_filters(filters, self.bottleneck), True, scale)
                    for _ in range(count)
                ]
            )
            for filters, count in zip(self.filters, self.num_blocks, strict=True)
        ]
        for stage, shape in zip(self.stages, self.compute_output_shape(input_shape), strict=True):
            stage.dtype_policy = self.dtype_policy
            stage.build(shape)
        self.poolings = [
            keras.layers.AveragePooling2D(stride, padding="same", dtype=self.dtype_policy, **CHANNELS_LAST)
            for stride in self.strides
        ]

    def compute_output_shape(self, input_shape: Any) -> Any:
        """Returns the shapes of the maps, the largest first."""
        height, width = input_shape[1:3]
        shapes = []
        for stride, filters in zip((1, *self.strides), self.filters, strict=True):
            height, width = -(-height // stride), -(-width // stride)
            shapes.append((input_shape[0], height, width, filters))
        return shapes

    def call(self, images: tf.Tensor, training: bool | None = None) -> list[tf.Tensor]:
        value: Any = self.stem(images)
        maps = []
        for number, stage in enumerate(self.stages):
            if number:
                value = with_channels(self.poolings[number - 1](value), self.filters[number])
            value = stage(value, training=training)
            maps.append(value)
        return maps


def hidden_filters(filters: int, bottleneck: float) -> int:
    """Returns the number of channels inside a block of so many; at least 1."""
    return max(1, int(filters * bottleneck))


def with_channels(value: Any, count: int) -> tf.Tensor:
    """Returns the first channels of a map `[b, h, w, F]`, and zeros where it has fewer than `count`."""
    missing = count - value.shape[-1]
    if missing > 0:
        return tf.pad(value, [(0, 0), (0, 0), (0, 0), (0, missing)])
    return value[..., :count]


def scaled_start(scale: float) -> Any:
    """Returns Glorot's uniform initial weights, multiplied by a factor."""
    if not scale:
        return keras.initializers.Zeros()
    return keras.initializers.VarianceScaling(scale**2, "fan_avg", "uniform")


def _convolution(filters: int, size: int, scale: float = 1.0) -> keras.layers.Layer:
    return keras.layers.Conv2D(
        filters, size, padding="same", kernel_initializer=scaled_start(scale), **CHANNELS_LAST
    )
