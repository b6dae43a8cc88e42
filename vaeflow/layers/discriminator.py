"""A classifier of latents, the adversary of a model."""

import keras
import tensorflow as tf

from vaeflow import validation
from vaeflow.layers.base import Layer, build_chain, run_chain
from vaeflow.layers.dense import dense_stack


class Discriminator(Layer):
    """Tells two kinds of latents apart: `[B, D]` to one logit each, `[B]`.

    A stack of dense layers with leaky ReLU of slope 0.2 (arXiv:1802.05983, appendix A).
    Papers that end in two logits mean the difference of the two.

    Args:
      units: widths of the hidden layers.
    """

    def __init__(self, units=(1000,) * 6, **kwargs):
        super().__init__(**kwargs)
        self.units = validation.positive_integers("Discriminator.units", units)
        self.hidden = dense_stack(self.units, "leaky_relu")
        # In float32 under mixed precision: what is computed of logits is sensitive to them.
        self.logit = keras.layers.Dense(1, dtype=self.variable_dtype)

    def build(self, input_shape):
        build_chain([self.logit], build_chain(self.hidden, input_shape, self.dtype_policy))

    def call(self, latents, training=None):
        return tf.squeeze(self.logit(run_chain(self.hidden, latents, training)), axis=1)
