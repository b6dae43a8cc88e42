"""The prior of couplings, affine ones or splines."""

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from vaeflow import registry, validation
from vaeflow.distributions import Gaussian, Transformed
from vaeflow.layers.base import Shape, build_once
from vaeflow.layers.couplings import AffineCoupling, Coupling, SplineCoupling, check_two_halves
from vaeflow.layers.priors import Prior
from vaeflow.layers.splines import MOST_BINS

COUPLINGS = ("affine", "spline")


@registry.prior
class FlowPrior(Prior):
    """p(z) of a flow from N(0, I): couplings that move the halves of z in turn.

    Affine ones of Dinh et al. 2017 (arXiv:1605.08803), or the rational-quadratic splines of Durkan et
    al. 2019 (arXiv:1906.04032). Draws and densities cost one pass through each coupling's
    net. Training starts at N(0, I). Such a prior can learn latents that are still empty faster than
    the decoder learns to fill them; `VAE.free_bits` prevents it, see `flow_prior_vae.gin`.

    Args:
      num_flows: how many couplings there are; below 2, half of z stays Gaussian.
      hidden_units: the widths of the hidden layers of each coupling's net.
      activation: the name of a Keras activation.
      coupling: `"affine"` or `"spline"`.
      num_bins: how many pieces a spline has.
      bound: B; outside of [−B, B] a spline is the identity.

    Raises:
      ValueError: a setting is out of range.
    """

    def __init__(
        self,
        num_flows: int = 4,
        hidden_units: Sequence[int] = (200,),
        activation: str = "relu",
        coupling: str = "affine",
        num_bins: int = 8,
        bound: float = 3.0,
        dtype: Any = None,
        **kwargs: Any,
    ):
        # In the dtype of the variables, since the KL is sensitive to the density.
        policy = keras.dtype_policies.get(dtype)
        super().__init__(dtype=policy.variable_dtype if dtype is None else dtype, **kwargs)
        num_flows = validation.positive_integer("FlowPrior.num_flows", num_flows)
        hidden_units = validation.positive_integers("FlowPrior.hidden_units", hidden_units)
        validation.positive_integer("FlowPrior.num_bins", num_bins, MOST_BINS)
        validation.positive_number("FlowPrior.bound", bound)
        splines: dict[str, Any] = {"num_bins": num_bins, "bound": bound}
        is_affine = validation.one_of("FlowPrior.coupling", coupling, COUPLINGS) == "affine"
        kind, settings = (AffineCoupling, {}) if is_affine else (SplineCoupling, splines)
        self.couplings: list[Coupling] = [
            kind(hidden_units, activation, number % 2 == 1, dtype=self.variable_dtype, **settings)
            for number in range(num_flows)
        ]

    def build(self, input_shape: Shape) -> None:
        check_two_halves(self, input_shape, "prior, such as @StandardNormalPrior()")
        self.latents_shape = tuple(input_shape[1:])
        for coupling in self.couplings:
            build_once(coupling, input_shape)

    def distribution(self, model: Any) -> Transformed:
        zeros = tf.zeros(self.latents_shape, self.variable_dtype)
        return Transformed(Gaussian(zeros, zeros), self.couplings)
