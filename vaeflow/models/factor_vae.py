"""The FactorVAE, with a discriminator that estimates the total correlation."""

from typing import Any

import tensorflow as tf

from vaeflow import random, registry, schedules, validation
from vaeflow.devices import replicas
from vaeflow.errors import ConfigurationError
from vaeflow.layers.terms import Term
from vaeflow.models.forward import Forward
from vaeflow.models.latent_discriminator import LatentDiscriminator
from vaeflow.models.passes import Inferred


@registry.model
class FactorVAE(LatentDiscriminator):
    """A VAE whose latents are made independent (Kim & Mnih 2018, arXiv:1802.05983, Eq. 2, Alg. 2).

    Minimizes E[−log p(x|z) + KL(q(z|x) ‖ p(z))] + γ E[log D(z) − log(1 − D(z))]. The last
    is the total correlation KL(q(z) ‖ Π_d q(z_d)) if the discriminator D is optimal.
    D minimizes ½ E[−log D(z)] + ½ E[−log(1 − D(z'))], where z' are latents of
    other images with each dimension permuted over the batch by itself (Alg. 1). Either
    loss moves its own variables only.

    The even positions of the global batch are the paper's first batch: they train the
    VAE, and are the z of both losses. The odd ones are its second batch, the source of z'.
    So all expectations are over half of the batch, and a term is 0 at the positions of the
    other half. The study (Locatello et al. 2019, arXiv:1811.12359) uses one batch for both,
    as `same_batch` does. In evaluation all images are used for both.

    Deviations: D has one logit, the difference of the paper's two; and D is updated at the
    same time as the VAE, so it sees the encoder's latents before the encoder's step.

    Args:
      gamma: γ, a float or a schedule.
      same_batch: whether the whole batch is used for both.
      **kwargs: as for `LatentDiscriminator`.
    """

    couples_examples = True

    def __init__(self, gamma: validation.Weight = 35.0, same_batch: bool = False, **kwargs: Any):
        super().__init__(**kwargs)
        self.gamma = validation.weight("FactorVAE.gamma", gamma)
        self.same_batch = validation.boolean("FactorVAE.same_batch", same_batch)

    def forward(
        self,
        batch: Any,
        step: int | tf.Tensor = schedules.END_OF_TIME,
        training: bool = False,
        num_samples: int | None = None,
    ) -> Forward:
        """As for `VAE`, but decodes only the images that train the VAE; `Forward.images` are those."""
        if not self._has_halves(training):
            return super().forward(batch, step, training, num_samples)
        batch = self._checked(batch)
        images, evidence = batch["images"], self.infer(batch, training)
        one_pass = Inferred(step, training)
        latents = self.draw_latents(one_pass, evidence)
        half = slice(self._first_even(images.shape[0]), None, 2)
        reconstruction = self.likelihood_of(latents[half], one_pass)
        losses = list(self.losses)
        return Forward({"images": images[half]}, evidence, one_pass.draws, reconstruction, losses, training)

    def objective(self, forward: Forward, step: int | tf.Tensor) -> dict[str, Term]:
        terms = super().objective(forward, step)
        latents, permuted = forward.latents, self._permuted_latents(forward)
        if self._has_halves(forward.training):
            is_even = tf.math.floormod(self.positions(forward.num_examples), 2) == 0
            # One pass: each position is either one of z or one of z'.
            logits = permuted_logits = self.discriminator(tf.where(is_even[:, None], latents, permuted))
            weights, permuted_weights = self._weights_of_halves(forward, is_even)
            reconstruction_loss = self._at_even_positions(terms["reconstruction_loss"].value, forward)
            terms["reconstruction_loss"] = terms["reconstruction_loss"]._replace(
                value=weights * reconstruction_loss
            )
            terms["kl"] = terms["kl"]._replace(value=weights * terms["kl"].value)
        else:
            logits = self.discriminator(tf.concat([latents, permuted], axis=0))
            logits, permuted_logits = tf.split(logits, 2)
            weights = permuted_weights = 1.0
        # D is the sigmoid of the logit: log D − log(1 − D) is the logit, −log D is softplus(−logit).
        mistakes = weights * tf.nn.softplus(-logits) + permuted_weights * tf.nn.softplus(permuted_logits)
        terms["total_correlation"] = Term(weights * logits, schedules.value_at(self.gamma, step))
        terms["discriminator_loss"] = Term(0.5 * mistakes, group="discriminator")
        return terms

    def mean_kl_per_unit(self, forward: Forward, group: str) -> tf.Tensor:
        if not self._has_halves(forward.training):
            return super().mean_kl_per_unit(forward, group)
        return tf.reduce_mean(self.gather(forward.kl_of(group))[::2], axis=0)

    def _has_halves(self, training):
        return training and not self.same_batch

    def _first_even(self, num_examples):
        """Returns which of this replica's examples is the first at an even position, 0 or 1."""
        whole = self.scope == "replica" or replicas.num_replicas() == 1
        if whole or num_examples % 2 == 0:
            return 0  # An int, so that the shapes that follow are known.
        return tf.math.floormod(self.positions(num_examples)[0], 2)

    def _permuted_latents(self, forward):
        """Returns z', `[b, D]`, without gradient; for halves, at the odd positions."""
        latents = tf.stop_gradient(forward.latents)
        size = self.batch_size_in_scope(forward.num_examples)
        ranks, num_permuted = self.positions(forward.num_examples), size
        halves = self._has_halves(forward.training)
        if halves:
            ranks, num_permuted = ranks // 2, _num_odd(size)
        shape = (num_permuted, self.num_latents)
        noise = random.uniform(shape, latents.dtype, shared=self.scope == "global")
        sources = tf.gather(tf.argsort(noise, axis=0), tf.minimum(ranks, num_permuted - 1))
        if halves:
            # The odd positions; the only image of a batch, where `fit` ends with one.
            sources = tf.minimum(2 * sources + 1, size - 1)
        columns = tf.gather(tf.transpose(self.gather(latents)), tf.transpose(sources), batch_dims=1)
        return tf.transpose(columns)

    def _weights_of_halves(self, forward, is_even):
        """Returns how much each example counts among the even and the odd positions, `[b]` each.

        The mean over the whole batch is then the mean over the half.
        """
        size = self.batch_size_in_scope(forward.num_examples)
        counts = size, size - size // 2, _num_odd(size)
        size, num_even, num_odd = (tf.cast(count, forward.latents.dtype) for count in counts)
        zero = tf.zeros_like(size)
        return tf.where(is_even, size / num_even, zero), tf.where(is_even, zero, size / num_odd)

    def _at_even_positions(self, values, forward):
        """Puts a value of each decoded image where the image is among all, `[b]`, and 0 elsewhere."""
        size = forward.num_examples
        first = self._first_even(forward.latents.shape[0])
        return tf.scatter_nd(tf.range(first, size, 2)[:, None], values, [size])


def _num_odd(size):
    """Returns the number of odd positions in a batch.

    Raises:
      ConfigurationError: there is none.
    """
    if isinstance(size, int) and size < 2:
        raise ConfigurationError(
            "FactorVAE needs at least 2 images in a batch, one for each half, got 1; raise "
            "`train.batch_size` or set FactorVAE.same_batch = True"
        )
    return size // 2 if isinstance(size, int) else tf.maximum(size // 2, 1)
