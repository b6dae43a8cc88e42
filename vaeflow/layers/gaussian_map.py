"""A Gaussian for each place and channel of a map."""

from typing import Any

import keras
import tensorflow as tf

from vaeflow import registry, validation
from vaeflow.layers.base import CHANNELS_LAST, Layer, Shape, build_chain, run_chain


@registry.layer
class GaussianMap(Layer):
    """The parameters of a Gaussian over maps, by a convolution.

    Features `[B, h, w, F]` become a pair (mean, log variance), each `[B, h, w, channels]`. Unless
    told otherwise it computes in the dtype of its variables, since a KL is sensitive to them.

    Args:
      channels: of the map.
      kernel_size: of the convolution.
      activation: the name of a Keras activation of the features before the convolution.
    """

    def __init__(
        self,
        channels: int,
        kernel_size: int = 3,
        activation: str = "linear",
        dtype: Any = None,
        **kwargs: Any,
    ):
        policy = keras.dtype_policies.get(dtype)
        super().__init__(dtype=policy.variable_dtype if dtype is None else dtype, **kwargs)
        self.channels = validation.positive_integer("GaussianMap.channels", channels)
        validation.positive_integer("GaussianMap.kernel_size", kernel_size)
        self.blocks = [
            keras.layers.Activation(activation),
            keras.layers.Conv2D(2 * channels, kernel_size, padding="same", **CHANNELS_LAST),
        ]

    def build(self, input_shape: Shape) -> None:
        build_chain(self.blocks, input_shape, self.dtype_policy)

    def call(self, features: tf.Tensor) -> tuple[tf.Tensor, ...]:
        return tuple(tf.split(run_chain(self.blocks, features), 2, axis=-1))
