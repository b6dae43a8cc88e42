"""A block of gated dense layers."""

import keras

from vaeflow import registry, validation
from vaeflow.layers import Layer


@registry.layer
class GatedEncoder(Layer):
    """Gated dense layers (Dauphin et al. 2017, Eq. 1, arXiv:1612.08083): `[B, H, W, C]` to `[B, F]`.

    Each layer computes (Wx + b) · sigmoid(Vx + c). Unlike those of the paper, the layers are dense.

    Args:
      units: widths of the layers; the last one is F.
      activity_weight: weight of the loss that the block tracks: the squared norm of the
        features, averaged over the examples.
    """

    def __init__(self, units=(256,), activity_weight=0.0, **kwargs):
        super().__init__(**kwargs)
        units = validation.positive_integers("GatedEncoder.units", units)
        self.activity_weight = float(activity_weight)
        self.flatten = keras.layers.Flatten()
        dtype = self.dtype_policy
        self.values = [keras.layers.Dense(width, dtype=dtype) for width in units]
        self.gates = [keras.layers.Dense(width, activation="sigmoid", dtype=dtype) for width in units]

    def build(self, input_shape):
        shape = self.flatten.compute_output_shape(input_shape)
        for value, gate in zip(self.values, self.gates, strict=True):
            value.build(shape)
            gate.build(shape)
            shape = (None, value.units)

    def call(self, images):
        features = self.flatten(images)
        for value, gate in zip(self.values, self.gates, strict=True):
            features = value(features) * gate(features)
        norms = keras.ops.sum(keras.ops.square(keras.ops.cast(features, self.variable_dtype)), axis=-1)
        self.add_loss(self.activity_weight * keras.ops.mean(norms))
        return features
