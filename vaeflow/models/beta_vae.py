"""The beta-VAE."""

from typing import Any

import tensorflow as tf

from vaeflow import registry, validation
from vaeflow.models.vae import VAE


@registry.model
class BetaVAE(VAE):
    """A VAE whose KL term has the weight β (Higgins et al. 2017, ICLR, Eq. 4).

    Minimizes E[−log p(x|z) + β · KL(q(z|x) ‖ p(z))]. β > 1 pushes the posterior
    towards the factorized prior, which favours disentangled latents.

    Args:
      beta: β; it multiplies `kl_weight`, which may be a warm-up schedule.
      **kwargs: as for `VAE`.
    """

    def __init__(self, beta: float = 4.0, **kwargs: Any):
        super().__init__(**kwargs)
        self.beta = validation.non_negative_number("BetaVAE.beta", beta)

    def kl_weight_at(self, step: int | tf.Tensor) -> float | tf.Tensor:
        return self.beta * super().kl_weight_at(step)
