"""Masked dense layers, and MADE, the autoregressive net that is made of them."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import ArrayLike

from vaeflow.layers.base import Layer, Shape, build_once


class MaskedDense(Layer):
    """A dense layer whose units see only the inputs that their degree allows.

    Germain et al. 2015 (arXiv:1502.03509), section 4. The degree of an input or a unit says on how many
    of the variables, in their order, it may depend. A unit sees every input whose degree is not
    above its own; a mask of zeros and ones on the kernel hides the others.

    Args:
      input_degrees: of each input, non-negative integers.
      degrees: of each unit.
      use_bias: whether a bias is added.
    """

    def __init__(self, input_degrees: ArrayLike, degrees: ArrayLike, use_bias: bool = True, **kwargs: Any):
        super().__init__(**kwargs)
        self.visible = np.less_equal.outer(np.asarray(input_degrees), np.asarray(degrees))
        self.use_bias = use_bias

    def build(self, input_shape: Shape) -> None:
        """Makes the variables; no kernel where no unit sees anything, since nothing would train it."""
        self.kernel = self.bias = None
        if self.visible.any():
            self.kernel = self.add_weight(self.visible.shape, "glorot_uniform", name="kernel")
        if self.use_bias:
            self.bias = self.add_weight(self.visible.shape[1:], "zeros", name="bias")

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        if self.kernel is None:
            outputs = tf.zeros((tf.shape(inputs)[0], self.visible.shape[1]), inputs.dtype)
        else:
            outputs = tf.matmul(inputs, self.kernel * tf.constant(self.visible, inputs.dtype))
        return outputs if self.bias is None else outputs + self.bias


class MADE(Layer):
    """A net whose outputs for a variable depend only on the variables before it, and on a context.

    Germain et al. 2015 (arXiv:1502.03509), section 4, with hidden units of the degrees 0 to
    D − 1 in equal shares, where the paper draws them from 1 on. Units of degree 0 see the context
    alone; they let the first variable depend on it.

    It maps values `[r, D]` and a context `[r, sum(hidden_units)]`, which is added to what
    the hidden units get, to a tuple of `num_outputs` tensors `[r, D]`.

    Args:
      num_variables: D.
      hidden_units: the widths of the hidden layers.
      num_outputs: how many outputs each variable has.
      activation: the name of a Keras activation.
      last_first: whether the order is that of the variables reversed.
    """

    def __init__(
        self,
        num_variables: int,
        hidden_units: Sequence[int],
        num_outputs: int = 2,
        activation: str = "elu",
        last_first: bool = False,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.hidden_units = tuple(hidden_units)
        self.num_outputs = num_outputs
        self.activation = keras.activations.get(activation)
        # The place of each variable in the order, from 1 on.
        places = range(1, num_variables + 1)
        self.degrees = np.array(places[::-1] if last_first else places)
        hidden_degrees = [np.arange(width) * num_variables // width for width in self.hidden_units]
        inputs = [self.degrees, *hidden_degrees]
        # The context brings the hidden units a bias.
        self.hidden = [
            MaskedDense(seen, degrees, use_bias=False, dtype=self.dtype_policy)
            for seen, degrees in zip(inputs, hidden_degrees, strict=False)
        ]
        output_degrees = np.tile(self.degrees - 1, num_outputs)
        self.outputs = MaskedDense(inputs[-1], output_degrees, dtype=self.dtype_policy)

    def build(self, input_shape: Shape) -> None:
        widths = [len(self.degrees), *self.hidden_units]
        for layer, width in zip([*self.hidden, self.outputs], widths, strict=True):
            build_once(layer, (None, width))

    def call(self, value: tf.Tensor, context: tf.Tensor) -> tuple[tf.Tensor, ...]:
        features = value
        contexts = tf.split(context, self.hidden_units, axis=-1)
        for layer, of_layer in zip(self.hidden, contexts, strict=True):
            features = self.activation(layer(features) + of_layer)
        return tuple(tf.split(self.outputs(features), self.num_outputs, axis=-1))
