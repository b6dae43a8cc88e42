"""The adversarial autoencoder."""

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from vaeflow import registry, schedules, validation
from vaeflow.layers.terms import Term
from vaeflow.models.autoencoder import Autoencoder
from vaeflow.models.forward import Forward
from vaeflow.models.latent_discriminator import LatentDiscriminator


@registry.model
class AdversarialAutoencoder(LatentDiscriminator, Autoencoder):
    """The adversarial autoencoder (Makhzani et al. 2016, arXiv:1511.05644, section 2).

    Minimizes E[c(x, x̂)] − λ E[log D(z)], where x̂ is the mean of p(x|z), c the sum of (x − x̂)² over pixels
    and channels, and D a discriminator that minimizes −½ E[log D(z')] − ½ E[log(1 − D(z))] with
    z' ~ p(z), one for each image (Goodfellow et al. 2014, arXiv:1406.2661, with the loss of section 3 that
    does not saturate). Either loss moves its own variables only, and the second part of the first the encoder
    only. So the latents of all images together come to look like samples of p(z), which may
    be any prior that can be sampled; a prior's own variables are not trained.

    Deviations: the paper updates decoder and encoder, then D, then the encoder against D; here is one
    step of all, with one optimizer for the sum of the encoder's two losses, so D sees the latents
    before the encoder's step.

    There is no KL: `kl_weight` and `free_bits` are refused. With a Gaussian encoder the
    term `kl` is logged with weight 0. A deterministic encoder has no density, so the KL, the
    ELBO and the likelihood are not defined with it and left out.

    Args:
      adversarial_weight: λ, a float or a schedule.
      deterministic: whether the posterior is `DeterministicPosterior()` where none is given.
      discriminator_units: widths of D's hidden layers; those of the paper by default.
      **kwargs: as for `LatentDiscriminator`.
    """

    without_kl = (
        "an adversarial autoencoder has no KL; the adversarial loss has the weight "
        "AdversarialAutoencoder.adversarial_weight"
    )

    def __init__(
        self,
        adversarial_weight: validation.Weight = 1.0,
        deterministic: bool = True,
        discriminator_units: Sequence[int] = (1000, 1000),
        **kwargs: Any,
    ):
        # Before the blocks are made, which depend on it.
        self.deterministic = validation.boolean("AdversarialAutoencoder.deterministic", deterministic)
        super().__init__(discriminator_units=discriminator_units, **kwargs)
        self.adversarial_weight = validation.weight(
            "AdversarialAutoencoder.adversarial_weight", adversarial_weight
        )

    def objective(self, forward: Forward, step: int | tf.Tensor) -> dict[str, Term]:
        wanted, _ = forward.prior.draw(forward.num_examples)
        both = tf.concat([tf.cast(wanted, forward.latents.dtype), forward.latents], axis=0)
        # Each loss takes its gradient with respect to its own variables only, so one pass serves both.
        wanted_logits, logits = tf.split(self.discriminator(both), 2)
        # D is the sigmoid of the logit: −log D is softplus(−logit), −log(1 − D) is softplus(logit).
        mistakes = tf.nn.softplus(-wanted_logits) + tf.nn.softplus(logits)
        return super().objective(forward, step) | {
            "adversarial_loss": Term(
                tf.nn.softplus(-logits), schedules.value_at(self.adversarial_weight, step)
            ),
            "discriminator_loss": Term(0.5 * mistakes, group="discriminator"),
        }
