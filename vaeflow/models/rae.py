"""The regularized autoencoder."""

from typing import Any

import tensorflow as tf

from vaeflow import random, registry, schedules, validation
from vaeflow.layers.terms import Term
from vaeflow.models.autoencoder import Autoencoder
from vaeflow.models.forward import Forward
from vaeflow.models.passes import Generated


@registry.model
class RAE(Autoencoder):
    """The regularized autoencoder (Ghosh et al. 2020, arXiv:1903.12436, section 3).

    Minimizes E[c(x, x̂) + β ½ ‖z‖²] + λ L_REG: the encoder is deterministic, small latents keep it from
    spreading, and L_REG keeps the decoder smooth in place of a VAE's noise. x̂ = D(z) is the mean of
    p(x|z), and c the sum of (x − x̂)² over pixels and channels, reported as `reconstruction_loss`. L_REG is
    E ‖∂D(z)/∂z‖², the squared Frobenius norm of the decoder's Jacobian (RAE-GP), the sum of the decoder's
    squared weights (RAE-L2), or with both weights 0 nothing (RAE).

    The term `gradient_penalty` is the estimate ‖(∂D/∂z)ᵀ v‖² with noise v ~ N(0, I) for each image, whose
    mean is the squared norm (Hutchinson 1989), at the cost of a pass back through the decoder. (The
    authors' code has the gradient of Σ D(z)² in its place, and others that of Σ D(z): both are small
    where the changes of many pixels cancel, however fast each pixel changes.)

    There is no p(z) in training, so samples of the prior are not those of this model. New images
    are drawn from a density that is fitted afterwards (section 4): `sample.samplers =
    [@GaussianMixtureSampler()]`.

    The encoder has no density, so the KL, the ELBO and the likelihood are not defined and left
    out; `kl_weight` and `free_bits` are refused.

    Args:
      latent_weight: β, a float or a schedule.
      gradient_penalty_weight: λ of the decoder's Jacobian, a float or a schedule; 0 for none.
      decoder_decay: λ of the decoder's squared weights, a float or a schedule; 0 for none.
      **kwargs: as for `VAE`.
    """

    without_kl = "an RAE has no KL; the size of the latents has the weight RAE.latent_weight"

    def __init__(
        self,
        latent_weight: validation.Weight = 1e-2,
        gradient_penalty_weight: validation.Weight = 0.0,
        decoder_decay: validation.Weight = 0.0,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.latent_weight = validation.weight("RAE.latent_weight", latent_weight)
        self.gradient_penalty_weight = validation.weight(
            "RAE.gradient_penalty_weight", gradient_penalty_weight
        )
        self.decoder_decay = validation.weight("RAE.decoder_decay", decoder_decay)

    def objective(self, forward: Forward, step: int | tf.Tensor) -> dict[str, Term]:
        axes = list(range(1, forward.latents.shape.rank))
        size = 0.5 * tf.reduce_sum(tf.square(forward.latents), axis=axes)
        terms = super().objective(forward, step)
        terms["latent_size"] = Term(size, schedules.value_at(self.latent_weight, step))
        if self.gradient_penalty_weight != 0.0:
            weight = schedules.value_at(self.gradient_penalty_weight, step)
            terms["gradient_penalty"] = Term(self._gradient_penalty(forward, step), weight)
        if self.decoder_decay != 0.0:
            # As a value of each example, which a batch may be cut into parts for.
            squares = tf.zeros_like(size) + tf.cast(self._decoder_squares(), size.dtype)
            terms["decoder_squares"] = Term(squares, schedules.value_at(self.decoder_decay, step))
        return terms

    def _gradient_penalty(self, forward, step):
        """Returns ‖(∂D/∂z)ᵀ v‖², `[b]`."""
        latents = forward.latents
        with tf.GradientTape() as tape:
            tape.watch(latents)
            one_pass = Generated(given={"z": latents}, step=step, training=forward.training)
            images = self.likelihood_of(latents, one_pass).mean
            noise = random.normal((tf.shape(images)[0], *images.shape[1:]), images.dtype)
            projected = tf.reduce_sum(noise * images)
        gradient = tape.gradient(projected, latents)
        return tf.reduce_sum(tf.square(gradient), axis=list(range(1, latents.shape.rank)))

    def _decoder_squares(self):
        return tf.add_n([tf.reduce_sum(tf.square(each)) for each in self.decoder.trainable_variables])
