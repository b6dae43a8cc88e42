"""Fully connected encoder and decoder."""

import math

import keras

from vaeflow import registry, validation
from vaeflow.layers.base import Decoder, Layer, build_chain, normalization_layer, run_chain


def dense_stack(units, activation, normalization=None):
    """Makes dense layers of the given widths, each normalized and activated."""
    blocks = []
    for width in units:
        blocks.append(keras.layers.Dense(width))
        blocks.extend(normalization_layer(normalization, width))
        blocks.append(keras.layers.Activation(activation))
    return blocks


@registry.layer
class DenseEncoder(Layer):
    """Flattens an image and passes it through dense layers: `[B, H, W, C]` to `[B, F]`.

    The default is the 400-unit net of Kingma & Welling 2014, with ReLU.

    Args:
      units: widths of the layers; the last one is F.
      activation: a Keras activation name.
      normalization: `"layer"` or None.
    """

    def __init__(self, units=(400,), activation="relu", normalization=None, **kwargs):
        super().__init__(**kwargs)
        units = validation.positive_integers("DenseEncoder.units", units)
        validation.one_of("DenseEncoder.normalization", normalization, ("layer", None))
        self.blocks = [keras.layers.Flatten(), *dense_stack(units, activation, normalization)]

    def build(self, input_shape):
        build_chain(self.blocks, input_shape, self.dtype_policy)

    def call(self, images, training=None):
        return run_chain(self.blocks, images, training)


@registry.layer
class DenseDecoder(Decoder):
    """Passes latents through dense layers and shapes an image: `[B, D]` to `[B, H, W, C]`.

    Args:
      units: widths of the hidden layers; a last linear layer has H·W·C units.
      activation: a Keras activation name.
      normalization: `"layer"` or None.
      target_shape: `(H, W, C)`, see `Decoder`.
    """

    def __init__(self, units=(400,), activation="relu", normalization=None, target_shape=None, **kwargs):
        super().__init__(target_shape, **kwargs)
        self.units = validation.positive_integers("DenseDecoder.units", units)
        validation.one_of("DenseDecoder.normalization", normalization, ("layer", None))
        self.hidden = dense_stack(self.units, activation, normalization)

    def build(self, input_shape):
        target_shape = self.checked_target_shape()
        self.output_layer = keras.layers.Dense(math.prod(target_shape))
        self.reshape = keras.layers.Reshape(target_shape)
        build_chain([*self.hidden, self.output_layer, self.reshape], input_shape, self.dtype_policy)

    def call(self, latents, training=None):
        return run_chain([*self.hidden, self.output_layer, self.reshape], latents, training)
