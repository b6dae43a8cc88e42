"""The net of a diffusion model of latents: what noise is in them, at a time."""

import math
from typing import Any

import keras
import tensorflow as tf

from vaeflow import registry, validation
from vaeflow.kernels.silu import silu
from vaeflow.layers.base import CHANNELS_LAST, Layer, Shape, build_chain, normalization_layer
from vaeflow.layers.conditional_prior import one_hot

_LONGEST_PERIOD = 10_000.0


@registry.layer
class Denoiser(Layer):
    """Residual blocks on noisy latents `[b, h, w, D]`, given their time: the noise in them, `[b, h, w, D]`.

    The blocks of the net of Ho et al. 2020 (arXiv:2006.11239, appendix B), without its U of several sizes and
    its attention: group normalization, swish and a 3x3 convolution, to which a linear function of the
    time's embedding is added, then normalization, swish and a second convolution, which begins at 0. For
    latents that are one vector, a map of one place, the convolutions are 1x1, which are dense layers. The
    time t is embedded by sines and cosines (Vaswani et al. 2017, arXiv:1706.03762, section 3.5) and two
    dense layers; labels are added there.

    Args:
      filters: the channels of each block.
      num_blocks: how many blocks there are.

    Attributes:
      label_sizes: how many values each label of an example has; the model sets it before it builds the net.

    Raises:
      ValueError: a setting is out of range.
    """

    label_sizes: tuple[int, ...] = ()

    def __init__(self, filters: int = 128, num_blocks: int = 4, **kwargs: Any):
        super().__init__(**kwargs)
        self.filters = validation.positive_integer("Denoiser.filters", filters)
        self.num_blocks = validation.positive_integer("Denoiser.num_blocks", num_blocks)

    def get_build_config(self) -> dict[str, Any]:
        """Returns what `build_from_config` needs: the shape, and the labels that the model has set."""
        return (super().get_build_config() or {}) | {"label_sizes": list(self.label_sizes)}

    def build_from_config(self, config: dict[str, Any]) -> None:
        """Builds the net as it was."""
        self.label_sizes = tuple(config["label_sizes"])
        super().build_from_config(config)

    def build(self, input_shape: Any) -> None:
        *places, depth = input_shape
        size = 1 if places[1:] == [1, 1] else 3
        count, shape = self.filters, (*places, self.filters)
        self.stem = _convolution(count, size)
        self.time = [keras.layers.Dense(count, activation="silu"), keras.layers.Dense(count)]
        self.firsts = [_convolving(count, size) for _ in range(self.num_blocks)]
        self.conditions = [keras.layers.Dense(count) for _ in range(self.num_blocks)]
        self.seconds = [_convolving(count, size, starts_at_0=True) for _ in range(self.num_blocks)]
        self.output_layers = _convolving(depth, size, starts_at_0=True, channels=count)
        build_chain([self.stem], input_shape, self.dtype_policy)
        build_chain(self.time, (None, count), self.dtype_policy)
        for layers in (*self.firsts, *self.seconds):
            build_chain([layers], shape, self.dtype_policy)
        build_chain([self.output_layers], shape, self.dtype_policy)
        for layer in self.conditions:
            build_chain([layer], (None, count), self.dtype_policy)
        if self.label_sizes:
            self.labels = keras.layers.Dense(count, use_bias=False)
            build_chain([self.labels], (None, sum(self.label_sizes)), self.dtype_policy)

    def call(
        self, noisy: tf.Tensor, times: Any, labels: tf.Tensor | None = None, training: bool | None = None
    ) -> tf.Tensor:
        """Returns the noise.

        Args:
          noisy: `[b, h, w, D]`.
          times: t of each example, 1 … T, int32 `[b]`; a half precision holds no such floats.
          labels: int64 `[b, F]`; None without labels.
          training: without effect.
        """
        condition: Any = embedded_times(times, self.filters, self.variable_dtype)
        for layer in self.time:
            condition = layer(condition)
        if self.label_sizes:
            condition += self.labels(one_hot(labels, self.label_sizes, condition.dtype))
        condition = silu(condition)
        features: Any = self.stem(noisy)
        for first, linear, second in zip(self.firsts, self.conditions, self.seconds, strict=True):
            features += second(first(features) + linear(condition)[:, None, None])
        return self.output_layers(features)


def embedded_times(times: Any, size: int, dtype: Any) -> tf.Tensor:
    """Returns the sines and then the cosines of t at frequencies from 1 to about 1 / 10,000, `[b, size]`."""
    count = -(-size // 2)
    frequencies = tf.exp(-math.log(_LONGEST_PERIOD) / count * tf.range(count, dtype=dtype))
    angles: Any = tf.cast(times, dtype)[:, None] * frequencies
    return tf.concat([tf.sin(angles), tf.cos(angles)], axis=1)[:, :size]


class _Convolving(Layer):
    """Group normalization, swish and a convolution."""

    def __init__(self, filters: int, size: int, starts_at_0: bool, channels: int, **kwargs: Any):
        super().__init__(**kwargs)
        self.filters = filters
        self.blocks = [
            *normalization_layer("group", channels),
            keras.layers.Activation("silu"),
            _convolution(filters, size, "zeros" if starts_at_0 else "glorot_uniform"),
        ]

    def build(self, input_shape: Shape) -> None:
        build_chain(self.blocks, input_shape, self.dtype_policy)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return (*input_shape[:-1], self.filters)

    def call(self, features: tf.Tensor) -> tf.Tensor:
        value: Any = features
        for block in self.blocks:
            value = block(value)
        return value


def _convolving(
    filters: int, size: int, starts_at_0: bool = False, channels: int | None = None
) -> _Convolving:
    return _Convolving(filters, size, starts_at_0, channels or filters)


def _convolution(filters: int, size: int, initializer: str = "glorot_uniform") -> keras.layers.Layer:
    return keras.layers.Conv2D(filters, size, padding="same", kernel_initializer=initializer, **CHANNELS_LAST)
