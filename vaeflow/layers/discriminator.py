"""The discriminator: a classifier of latents that a model trains against."""

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from vaeflow import validation
from vaeflow.kernels.shared_backward import classify
from vaeflow.layers.base import Layer, Shape, build_chain

_SLOPE = 0.2


class Discriminator(Layer):
    """Classifies latents `[B, D]` into two kinds: one logit each, `[B]`.

    A stack of dense layers with leaky ReLU of slope 0.2 (arXiv:1802.05983, appendix A).
    The logit is the difference of the two logits that some papers use.

    Args:
      units: widths of the hidden layers.
      hidden_dtype: the dtype in which they are computed, as under mixed precision. The logit is computed
        in the layer's own, since the losses are sensitive to it.

    Raises:
      ValueError: `units` are not positive integers.
    """

    def __init__(self, units: Sequence[int] = (1000,) * 6, hidden_dtype: str = "float32", **kwargs: Any):
        super().__init__(**kwargs)
        self.units = validation.positive_integers("Discriminator.units", units)
        self.hidden_dtype = hidden_dtype
        self.hidden = [keras.layers.Dense(width) for width in self.units]
        self.logit = keras.layers.Dense(1)

    def build(self, input_shape: Shape) -> None:
        build_chain([*self.hidden, self.logit], input_shape, self.dtype_policy)

    def call(self, latents: tf.Tensor) -> tf.Tensor:
        return classify(latents, self.hidden, self.logit, _SLOPE, self.hidden_dtype)
