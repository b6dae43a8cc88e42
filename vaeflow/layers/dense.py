"""Fully connected encoder and decoder."""

import math
from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from vaeflow import registry, validation
from vaeflow.kernels.dense import Dense
from vaeflow.layers.base import (
    CHANNELS_LAST,
    Decoder,
    Layer,
    Shape,
    build_chain,
    normalization_layer,
    run_chain,
)


def dense_stack(
    units: Sequence[int], activation: str, normalization: str | None = None
) -> list[keras.layers.Layer]:
    """Makes dense layers of the given widths, each normalized and activated."""
    blocks: list[keras.layers.Layer] = []
    for width in units:
        blocks.append(Dense(width))
        blocks.extend(normalization_layer(normalization, width))
        blocks.append(keras.layers.Activation(activation))
    return blocks


@registry.layer
class DenseEncoder(Layer):
    """Flattens an image and passes it through dense layers: `[B, H, W, C]` to `[B, F]`.

    The default is the 400-unit net of Kingma & Welling 2014, with ReLU.

    Args:
      units: widths of the layers; the last one is F.
      activation: the name of a Keras activation.
      normalization: `"layer"` or None.

    Raises:
      ValueError: a setting is out of range.
    """

    def __init__(
        self,
        units: Sequence[int] = (400,),
        activation: str = "relu",
        normalization: str | None = None,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        units = validation.positive_integers("DenseEncoder.units", units)
        validation.one_of("DenseEncoder.normalization", normalization, ("layer", None))
        self.blocks = [keras.layers.Flatten(**CHANNELS_LAST), *dense_stack(units, activation, normalization)]

    def build(self, input_shape: Shape) -> None:
        build_chain(self.blocks, input_shape, self.dtype_policy)

    def call(self, images: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        return run_chain(self.blocks, images, training)


@registry.layer
class DenseDecoder(Decoder):
    """Passes latents through dense layers and reshapes the result: `[B, D]` to `[B, H, W, C]`.

    Args:
      units: widths of the hidden layers; a last linear layer has H·W·C units.
      activation: the name of a Keras activation.
      normalization: `"layer"` or None.
      target_shape: `(H, W, C)`, see `Decoder`.

    Raises:
      ValueError: a setting is out of range.
    """

    def __init__(
        self,
        units: Sequence[int] = (400,),
        activation: str = "relu",
        normalization: str | None = None,
        target_shape: Sequence[int] | None = None,
        **kwargs: Any,
    ):
        super().__init__(target_shape, **kwargs)
        self.units = validation.positive_integers("DenseDecoder.units", units)
        validation.one_of("DenseDecoder.normalization", normalization, ("layer", None))
        self.hidden = dense_stack(self.units, activation, normalization)

    def build(self, input_shape: Shape) -> None:
        target_shape = self.checked_target_shape()
        self.output_layer = Dense(math.prod(target_shape))
        self.reshape = keras.layers.Reshape(target_shape)
        build_chain([*self.hidden, self.output_layer, self.reshape], input_shape, self.dtype_policy)

    @property
    def last_kernel(self) -> keras.Variable:
        return self.output_layer.kernel

    def call(self, latents: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        return run_chain([*self.hidden, self.output_layer, self.reshape], latents, training)
