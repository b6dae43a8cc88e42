"""The VAE whose KL is held at a capacity that grows."""

from typing import Any

import tensorflow as tf

from vaeflow import registry, schedules, validation
from vaeflow.errors import ConfigurationError
from vaeflow.layers.terms import Term
from vaeflow.models import minibatch_divergences
from vaeflow.models.forward import Forward
from vaeflow.models.vae import VAE


@registry.model
class AnnealedVAE(VAE):
    """A VAE whose KL is pulled towards a capacity C (Burgess et al. 2018, arXiv:1804.03599, Eq. 8).

    Minimizes E[−log p(x|z)] + γ |E[KL(q(z|x) ‖ p(z))] − C|. C grows linearly from 0 at the
    first step, so that latents come into use one after the other.

    The paper writes the objective for one example. Here the absolute value is taken of
    the mean over the batch, as in the disentanglement study (Locatello et al. 2019,
    arXiv:1811.12359); with `per_example` it is taken of each example, as in pythae.

    The terms `kl` and `capacity`, which is C, are logged with weight 0. Free bits count
    as part of E[KL].

    Args:
      gamma: γ, a float or a schedule; it multiplies `kl_weight`.
      max_capacity: the largest C, in nats.
      capacity_steps: the number of steps until C reaches it.
      per_example: whether to take E[|KL − C|] instead.
      **kwargs: as for `VAE`.
    """

    def __init__(
        self,
        gamma: validation.Weight = 1000.0,
        max_capacity: float = 25.0,
        capacity_steps: int = 100_000,
        per_example: bool = False,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.gamma = validation.weight("AnnealedVAE.gamma", gamma)
        self.max_capacity = validation.non_negative_number("AnnealedVAE.max_capacity", max_capacity)
        self.capacity_steps = validation.positive_count("AnnealedVAE.capacity_steps", capacity_steps)
        self.per_example = validation.boolean("AnnealedVAE.per_example", per_example)
        if per_example and self.free_bits:
            raise ConfigurationError(
                "`AnnealedVAE.free_bits` are a bound on the mean KL of the batch and have no meaning for "
                f"each example, got {self.free_bits} with AnnealedVAE.per_example = True; set one of the two"
            )

    def capacity(self, step: int | tf.Tensor, dtype: str | tf.DType = "float32") -> tf.Tensor:
        """Returns C at a step, in nats, a scalar tensor of `dtype`."""
        fraction = tf.cast(step, dtype) / tf.constant(self.capacity_steps, dtype)
        return self.max_capacity * tf.minimum(fraction, 1.0)

    def objective(self, forward: Forward, step: int | tf.Tensor) -> dict[str, Term]:
        terms = super().objective(forward, step)
        kl = terms["kl"].value
        capacity = self.capacity(step, kl.dtype)
        if not self.per_example:
            kl = self.gather(kl)
            minibatch_divergences.check_batch_size(kl.shape[0])
            kl = tf.reduce_mean(kl)
        if "free_bits" in terms:
            kl += terms["free_bits"].value
        terms = {
            name: term if name == "reconstruction_loss" else term._replace(weight=0.0)
            for name, term in terms.items()
        }
        weight = schedules.value_at(self.gamma, step) * self.kl_weight_at(step)
        terms["capacity_gap"] = Term(tf.abs(kl - capacity), weight)
        # Per example: a scalar would count as a term that couples the examples.
        terms["capacity"] = Term(tf.fill(tf.shape(terms["kl"].value), capacity), 0.0)
        return terms
