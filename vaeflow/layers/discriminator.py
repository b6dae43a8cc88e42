"""The discriminator: a classifier of latents that a model trains against."""

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from vaeflow import validation
from vaeflow.layers.base import Layer, Shape, build_chain, run_chain
from vaeflow.layers.dense import dense_stack


class Discriminator(Layer):
    """Classifies latents `[B, D]` into two kinds: one logit each, `[B]`.

    A stack of dense layers with leaky ReLU of slope 0.2 (arXiv:1802.05983, appendix A).
    The logit is the difference of the two logits that some papers use.

    Args:
      units: widths of the hidden layers.

    Raises:
      ValueError: `units` are not positive integers.
    """

    def __init__(self, units: Sequence[int] = (1000,) * 6, **kwargs: Any):
        super().__init__(**kwargs)
        self.units = validation.positive_integers("Discriminator.units", units)
        self.hidden = dense_stack(self.units, "leaky_relu")
        # In float32 under mixed precision, since the losses are sensitive to the logits.
        self.logit = keras.layers.Dense(1, dtype=self.variable_dtype)

    def build(self, input_shape: Shape) -> None:
        build_chain([self.logit], build_chain(self.hidden, input_shape, self.dtype_policy))

    def call(self, latents: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        return tf.squeeze(self.logit(run_chain(self.hidden, latents, training)), axis=1)
