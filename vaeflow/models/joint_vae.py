"""The VAE with continuous and discrete latents, each of whose KLs is held at a capacity that grows."""

import math
from typing import Any

import tensorflow as tf

from vaeflow import registry, schedules, validation
from vaeflow.distributions import UniformOverCodes
from vaeflow.layers import GumbelSoftmaxPosterior
from vaeflow.layers.base import Shape, build_chain, build_once
from vaeflow.layers.terms import Term, Update
from vaeflow.models import minibatch_divergences
from vaeflow.models.batches import Batch
from vaeflow.models.blocks import check_features, distribution_of
from vaeflow.models.forward import Forward
from vaeflow.models.passes import Pass
from vaeflow.models.vae import VAE


@registry.model
class JointVAE(VAE):
    """A VAE of continuous latents z and categorical latents c (Dupont 2018, arXiv:1804.00104, Eq. 7).

    Minimizes E[−log p(x|z, c)] + γ |E[KL(q(z|x) ‖ p(z))] − C_z| + γ |E[KL(q(c|x) ‖ p(c))] − C_c|. Both
    capacities grow linearly from 0 at the first step, so that the latents come into use one after the
    other, and the discrete ones are not ignored. C_c ends at Σ log K, the largest KL that there is, if
    not before. As the authors' program does, the absolute values are taken of means over the batch.

    The decoder sees z and c next to each other. The groups of latents are `z` and `c`; without `c`,
    `decode` draws it. The two KLs and the capacities are logged with weight 0. `kl_weight`
    and `free_bits` are refused.

    Args:
      num_latents: D, the number of continuous latents.
      discrete_posterior: q(c|x), a `GumbelSoftmaxPosterior`, of one variable unless its `num_latents`
        says otherwise; None for one variable of 10 categories at a temperature of 0.67. c has the uniform
        prior.
      gamma: γ, a float or a schedule.
      max_capacity: the largest C_z, in nats.
      max_discrete_capacity: the largest C_c, in nats.
      capacity_steps: the number of steps until both reach it.
      **kwargs: as for `VAE`.
    """

    def __init__(
        self,
        num_latents: int = 10,
        discrete_posterior: GumbelSoftmaxPosterior | None = None,
        gamma: validation.Weight = 30.0,
        max_capacity: float = 5.0,
        max_discrete_capacity: float = 5.0,
        capacity_steps: int = 25_000,
        **kwargs: Any,
    ):
        super().__init__(num_latents, **kwargs)
        self.refuse_kl_settings("a JointVAE holds each KL at a capacity, with the weight gamma")
        self.gamma = validation.weight("JointVAE.gamma", gamma)
        self.max_capacity = validation.non_negative_number("JointVAE.max_capacity", max_capacity)
        self.max_discrete_capacity = validation.non_negative_number(
            "JointVAE.max_discrete_capacity", max_discrete_capacity
        )
        self.capacity_steps = validation.positive_count("JointVAE.capacity_steps", capacity_steps)
        self.discrete_posterior: GumbelSoftmaxPosterior = self._block(
            "discrete_posterior", discrete_posterior, self.default_discrete_posterior
        )
        if self.discrete_posterior.num_latents is None:
            self.discrete_posterior.use_num_latents(1)
        self.num_decoder_conditions = sum(self.discrete_posterior.code_sizes)

    def default_discrete_posterior(self) -> GumbelSoftmaxPosterior:
        """Makes the q(c|x) used when none is given."""
        return GumbelSoftmaxPosterior(1, temperature=0.67, dtype=self.variable_dtype)

    def build(self, input_shape: Shape) -> None:
        features_shape = build_chain([self.encoder], input_shape)
        check_features(self.encoder, self.discrete_posterior, features_shape)
        build_once(self.discrete_posterior, features_shape)
        super().build(input_shape)

    def infer(self, batch: Batch, training: bool = False) -> Any:
        """Returns the parameters of q(z|x) and of q(c|x)."""
        self._check_images(batch["images"])
        features = self.in_parts(self.encoder, self.encoder_inputs(batch), training=training)
        return self.posterior(features), self.discrete_posterior(features)

    def draw_latents(self, one_pass: Pass, evidence: Any) -> tf.Tensor:
        of_z, of_c = (None, None) if evidence is None else evidence
        latents = super().draw_latents(one_pass, of_z)
        one_pass.draw(
            "c",
            self.discrete_prior,
            lambda: distribution_of(
                self.discrete_posterior, of_c, "draw", "OneHotCategorical(logits)", one_pass.training_step
            ),
        )
        return latents

    def discrete_prior(self) -> UniformOverCodes:
        """Returns p(c), for any number of rows."""
        return UniformOverCodes(self.discrete_posterior.code_sizes, (), self.discrete_posterior.embed_codes)

    def decoder_inputs(self, latents: tf.Tensor, one_pass: Pass) -> tf.Tensor:
        return tf.concat([latents, tf.cast(one_pass.draws["c"].value, latents.dtype)], axis=-1)

    def capacities(self, step: int | tf.Tensor, dtype: str | tf.DType = "float32") -> dict[str, tf.Tensor]:
        """Returns C_z and C_c at a step, in nats, by group: scalar tensors of `dtype`."""
        largest = math.log(self.discrete_posterior.num_categories) * len(self.discrete_posterior.code_sizes)
        fraction = tf.minimum(tf.cast(step, dtype) / tf.constant(self.capacity_steps, dtype), 1.0)
        return {
            "z": self.max_capacity * fraction,
            "c": tf.minimum(self.max_discrete_capacity * fraction, largest),
        }

    def objective(self, forward: Forward, step: int | tf.Tensor) -> dict[str, Term]:
        loss = forward.reconstruction_loss
        terms = {"reconstruction_loss": Term(loss), "kl": Term(forward.kl, 0.0)}
        capacities = self.capacities(step, loss.dtype)
        for group, name in (("z", "continuous"), ("c", "discrete")):
            kl = tf.reduce_sum(forward.kl_of(group), axis=1)
            gathered = self.gather(kl)
            minibatch_divergences.check_batch_size(gathered.shape[0])
            gap = tf.abs(tf.reduce_mean(gathered) - capacities[group])
            terms[f"{name}_capacity_gap"] = Term(gap, schedules.value_at(self.gamma, step))
            terms[f"{name}_kl"] = Term(kl, 0.0)
            # Per example: a scalar would count as a term that couples the examples.
            terms[f"{name}_capacity"] = Term(tf.fill(tf.shape(kl), capacities[group]), 0.0)
        return terms | self.posterior.terms(forward.draws["z"], step)

    def updates(self, forward: Forward, step: int | tf.Tensor) -> dict[str, Update]:
        return self.posterior.updates(forward.draws["z"], step)
