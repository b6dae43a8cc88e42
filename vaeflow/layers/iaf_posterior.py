"""The posterior of an inverse autoregressive flow."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from vaeflow import registry, validation
from vaeflow.distributions import Gaussian, Transformed
from vaeflow.kernels.joint_dense import joint_dense
from vaeflow.layers.autoregressive import MADE
from vaeflow.layers.base import Shape, build_chain, build_once
from vaeflow.layers.posteriors import Posterior


@registry.posterior
class IAFPosterior(Posterior):
    """An inverse autoregressive flow: a Gaussian that autoregressive nets transform.

    Kingma et al. 2016 (arXiv:1606.04934), Algorithm 1: z ← σ(s) ⊙ z + (1 − σ(s)) ⊙ m, where a
    `MADE` computes m and s for each latent from the latents before it and from the image. The
    Jacobian is triangular with σ(s) on its diagonal. Every other net takes the latents in
    reversed order.

    The density of a draw costs one pass through each net. The density of any other value costs D
    passes, since an autoregressive net is inverted one latent after the other.

    Features `[B, F]` become mean and log variance `[B, D]` of the Gaussian, and what an image adds
    to each hidden unit of the nets, `[B, num_flows · sum(hidden_units)]`: linear in the
    features, it is computed once for all samples of an image.

    Args:
      num_latents: D; None lets the model say it.
      num_flows: T, how many nets there are.
      hidden_units: the widths of the hidden layers of each net.
      activation: the name of a Keras activation.
      forget_bias: what is added to s. The paper advises 1 or 2 for the start (section 4), so that
        at first a flow changes z only slightly.

    Raises:
      ValueError: a setting is out of range.
    """

    def __init__(
        self,
        num_latents: int | None = None,
        num_flows: int = 4,
        hidden_units: Sequence[int] = (320,),
        activation: str = "elu",
        forget_bias: float = 2.0,
        **kwargs: Any,
    ):
        super().__init__(num_latents, **kwargs)
        self.num_flows = validation.positive_integer("IAFPosterior.num_flows", num_flows)
        self.hidden_units = validation.positive_integers("IAFPosterior.hidden_units", hidden_units)
        if not self.hidden_units:
            raise ValueError("`IAFPosterior.hidden_units` must name at least one width, got none")
        keras.activations.get(activation)  # An unknown name is refused here, not in `build`.
        self.activation = activation
        self.forget_bias = validation.finite_number("IAFPosterior.forget_bias", forget_bias)
        self.mean = keras.layers.Dense(num_latents or 1)
        self.log_variance = keras.layers.Dense(num_latents or 1)
        self.context = keras.layers.Dense(self.num_flows * sum(self.hidden_units))

    def build(self, input_shape: Shape) -> None:
        num_latents = self.checked_num_latents()
        self.mean.units = self.log_variance.units = num_latents
        for layer in (self.mean, self.log_variance, self.context):
            build_chain([layer], input_shape, self.dtype_policy)
        self.nets = [
            MADE(
                num_latents,
                self.hidden_units,
                activation=self.activation,
                last_first=number % 2 == 1,
                dtype=self.variable_dtype,
            )
            for number in range(self.num_flows)
        ]
        for net in self.nets:
            build_once(net, (None, num_latents))

    def call(self, features: tf.Tensor) -> tuple[tf.Tensor, ...]:
        return *joint_dense(features, self.mean, self.log_variance), self.context(features)

    def distribution(self, evidence: tuple[tf.Tensor, ...]) -> Transformed:
        mean, log_variance, context = (tf.cast(each, self.variable_dtype) for each in evidence)
        contexts = tf.split(context, self.num_flows, axis=-1)
        flows = [
            InverseAutoregressiveFlow(net, of_net, self.forget_bias)
            for net, of_net in zip(self.nets, contexts, strict=True)
        ]
        return Transformed(Gaussian(mean, log_variance), flows)


@dataclasses.dataclass(frozen=True)
class InverseAutoregressiveFlow:
    """One step of Algorithm 1, for the images of a context; see `vaeflow.distributions.Flow`.

    Args:
      net: computes m and s.
      context: `[r, sum(net.hidden_units)]`.
      forget_bias: what is added to s.
    """

    net: MADE
    context: tf.Tensor
    forget_bias: float

    def forward(self, value: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns σ(s) ⊙ value + (1 − σ(s)) ⊙ m, and Σ log σ(s)."""
        mean, gate = self._mean_and_gate(value)
        transformed = tf.sigmoid(gate) * value + tf.sigmoid(-gate) * mean
        return transformed, tf.reduce_sum(tf.math.log_sigmoid(gate), axis=1)

    def inverse(self, value: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Inverts `forward` in D passes through the net, one for each latent in the net's order."""
        degrees = tf.constant(self.net.degrees)

        def solve_next(place, solved, _):
            mean, gate = self._mean_and_gate(solved)
            # Equal to (value − (1 − σ(s)) m) / σ(s). What is not known yet stays 0, and finite.
            found = value + (value - mean) * tf.exp(-gate)
            return place + 1, tf.where(degrees <= place, found, tf.zeros_like(found)), gate

        num_latents = len(self.net.degrees)
        start = (tf.ones((), degrees.dtype), tf.zeros_like(value), tf.zeros_like(value))
        _, solved, gate = tf.while_loop(
            lambda place, *_: place <= num_latents, solve_next, start, maximum_iterations=num_latents
        )
        return solved, tf.reduce_sum(tf.math.log_sigmoid(gate), axis=1)

    def _mean_and_gate(self, value):
        mean, gate = self.net(value, self.context)
        return mean, gate + self.forget_bias
