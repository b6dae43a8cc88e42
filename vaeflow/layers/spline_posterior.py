"""The posterior of neural spline flows."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from vaeflow import registry, validation
from vaeflow.distributions import Gaussian, Transformed
from vaeflow.kernels.joint_dense import joint_dense
from vaeflow.layers.base import Shape, build_chain, build_once
from vaeflow.layers.couplings import Coupling, SplineCoupling, check_two_halves
from vaeflow.layers.posteriors import Posterior
from vaeflow.layers.splines import MOST_BINS


@registry.posterior
class SplinePosterior(Posterior):
    """A Gaussian that neural spline flows transform, with a known density of any value.

    Durkan et al. 2019 (arXiv:1906.04032), RQ-NSF (C): rational-quadratic splines move one half of the
    latents, by knots and slopes that a dense net computes from the other half and from the image; the
    next flow moves the other half. Draws and densities of any value cost one pass through each net.
    Training starts at the Gaussian.

    Features `[B, F]` become mean and log variance `[B, D]` of the Gaussian, and what an image adds
    to each unit of the first hidden layer of the nets, `[B, num_flows · hidden_units[0]]`: linear in
    the features, it is computed once for all samples of an image. The linear layers that the authors
    put between the flows are left out.

    Args:
      num_latents: D, 2 or more; None lets the model say it.
      num_flows: how many flows there are; below 2, half of z stays Gaussian.
      hidden_units: the widths of the hidden layers of each net.
      activation: the name of a Keras activation.
      num_bins: K, how many pieces a spline has.
      bound: B; outside of [−B, B] a spline is the identity.

    Raises:
      ValueError: a setting is out of range.
    """

    def __init__(
        self,
        num_latents: int | None = None,
        num_flows: int = 4,
        hidden_units: Sequence[int] = (128,),
        activation: str = "relu",
        num_bins: int = 8,
        bound: float = 3.0,
        **kwargs: Any,
    ):
        super().__init__(num_latents, **kwargs)
        self.num_flows = validation.positive_integer("SplinePosterior.num_flows", num_flows)
        self.hidden_units = validation.positive_integers("SplinePosterior.hidden_units", hidden_units)
        if not self.hidden_units:
            raise ValueError("`SplinePosterior.hidden_units` must name at least one width, got none")
        validation.positive_integer("SplinePosterior.num_bins", num_bins, MOST_BINS)
        validation.positive_number("SplinePosterior.bound", bound)
        self.mean = keras.layers.Dense(num_latents or 1)
        self.log_variance = keras.layers.Dense(num_latents or 1)
        self.context = keras.layers.Dense(self.num_flows * self.hidden_units[0])
        self.couplings = [
            SplineCoupling(
                self.hidden_units, activation, number % 2 == 1, num_bins, bound, dtype=self.variable_dtype
            )
            for number in range(self.num_flows)
        ]

    def build(self, input_shape: Shape) -> None:
        latents_shape = (None, self.checked_num_latents())
        check_two_halves(self, latents_shape, "posterior, such as @GaussianPosterior()")
        self.mean.units = self.log_variance.units = latents_shape[1]
        for layer in (self.mean, self.log_variance, self.context):
            build_chain([layer], input_shape, self.dtype_policy)
        for coupling in self.couplings:
            build_once(coupling, latents_shape)

    def call(self, features: tf.Tensor) -> tuple[tf.Tensor, ...]:
        return *joint_dense(features, self.mean, self.log_variance), self.context(features)

    def distribution(self, evidence: tuple[tf.Tensor, ...]) -> Transformed:
        mean, log_variance, context = (tf.cast(each, self.variable_dtype) for each in evidence)
        contexts = tf.split(context, self.num_flows, axis=-1)
        flows = [ConditionedCoupling(*each) for each in zip(self.couplings, contexts, strict=True)]
        return Transformed(Gaussian(mean, log_variance), flows)


@dataclasses.dataclass(frozen=True)
class ConditionedCoupling:
    """A coupling for the images of a context; see `vaeflow.distributions.Flow`.

    Args:
      coupling: the coupling.
      context: `[r, hidden_units[0]]`; see `Coupling.forward`.
    """

    coupling: Coupling
    context: tf.Tensor

    def forward(self, value: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return self.coupling.forward(value, self.context)

    def inverse(self, value: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return self.coupling.inverse(value, self.context)
