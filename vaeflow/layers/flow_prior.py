"""The prior of affine couplings."""

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from vaeflow import registry, validation
from vaeflow.distributions import Gaussian, Transformed
from vaeflow.errors import ConfigurationError
from vaeflow.layers.base import Layer, Shape, build_chain, build_once, run_chain
from vaeflow.layers.dense import dense_stack
from vaeflow.layers.priors import Prior


class AffineCoupling(Layer):
    """Scales and shifts one half of the variables by functions of the other half.

    Dinh et al. 2017 (arXiv:1605.08803), Eq. 4 to 8: y_b = x_b ⊙ exp(s(x_a)) + t(x_a), with a tanh
    on s (section 4.1). Both directions cost one pass through a dense net. The net's last layer
    starts at zero, so that at first the coupling changes nothing.

    Args:
      hidden_units: the widths of the net's hidden layers.
      activation: the name of a Keras activation.
      moves_first: whether the first half moves, not the second.
    """

    def __init__(self, hidden_units: Sequence[int], activation: str, moves_first: bool, **kwargs: Any):
        super().__init__(**kwargs)
        self.moves_first = moves_first
        self.output_layer = keras.layers.Dense(2, kernel_initializer="zeros")
        self.net = [*dense_stack(hidden_units, activation), self.output_layer]

    def build(self, input_shape: Shape) -> None:
        """Builds the net for values of `(None, D)`."""
        size: Any = input_shape[-1]
        self.sizes = (size // 2, size - size // 2)
        moved, kept = self.sizes if self.moves_first else self.sizes[::-1]
        self.output_layer.units = 2 * moved
        build_chain(self.net, (None, kept), self.dtype_policy)

    def forward(self, value: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns y for x `[r, D]`, and Σ s; see `vaeflow.distributions.Flow`."""
        moved, kept = self._halves(value)
        log_scale, shift = self._log_scale_and_shift(kept)
        return self._joined(moved * tf.exp(log_scale) + shift, kept), tf.reduce_sum(log_scale, axis=1)

    def inverse(self, value: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns x for y `[r, D]`, and Σ s."""
        moved, kept = self._halves(value)
        log_scale, shift = self._log_scale_and_shift(kept)
        return self._joined((moved - shift) * tf.exp(-log_scale), kept), tf.reduce_sum(log_scale, axis=1)

    def _log_scale_and_shift(self, kept):
        log_scale, shift = tf.split(run_chain(self.net, kept), 2, axis=-1)
        return tf.tanh(log_scale), shift

    def _halves(self, value):
        first, second = tf.split(value, self.sizes, axis=-1)
        return (first, second) if self.moves_first else (second, first)

    def _joined(self, moved, kept):
        return tf.concat([moved, kept] if self.moves_first else [kept, moved], axis=-1)


@registry.prior
class FlowPrior(Prior):
    """p(z) of a flow from N(0, I): affine couplings that move the halves of z in turn.

    Dinh et al. 2017 (arXiv:1605.08803). Draws and densities cost one pass through each coupling's
    net. Training starts at N(0, I). Such a prior can learn latents that are still empty faster than
    the decoder learns to fill them; `VAE.free_bits` prevents it, see `flow_prior_vae.gin`.

    Args:
      num_flows: how many couplings there are; below 2, half of z stays Gaussian.
      hidden_units: the widths of the hidden layers of each coupling's net.
      activation: the name of a Keras activation.

    Raises:
      ValueError: a setting is out of range.
    """

    def __init__(
        self,
        num_flows: int = 4,
        hidden_units: Sequence[int] = (200,),
        activation: str = "relu",
        dtype: Any = None,
        **kwargs: Any,
    ):
        # In the dtype of the variables, since the KL is sensitive to the density.
        policy = keras.dtype_policies.get(dtype)
        super().__init__(dtype=policy.variable_dtype if dtype is None else dtype, **kwargs)
        num_flows = validation.positive_integer("FlowPrior.num_flows", num_flows)
        hidden_units = validation.positive_integers("FlowPrior.hidden_units", hidden_units)
        self.couplings = [
            AffineCoupling(hidden_units, activation, moves_first=number % 2 == 1, dtype=self.variable_dtype)
            for number in range(num_flows)
        ]

    def build(self, input_shape: Shape) -> None:
        if len(input_shape) != 2 or input_shape[1] == 1:
            raise ConfigurationError(
                "`FlowPrior` needs latents [B, D] with D of 2 or more, since one half moves the other, got "
                f"[B, {', '.join(map(str, input_shape[1:]))}]; choose another prior, such as "
                "@StandardNormalPrior()"
            )
        self.latents_shape = tuple(input_shape[1:])
        for coupling in self.couplings:
            build_once(coupling, input_shape)

    def distribution(self, model: Any) -> Transformed:
        zeros = tf.zeros(self.latents_shape, self.variable_dtype)
        return Transformed(Gaussian(zeros, zeros), self.couplings)
