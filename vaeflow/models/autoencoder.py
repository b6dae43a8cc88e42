"""The base of autoencoders whose latents a term other than the KL shapes."""

from typing import Any

import tensorflow as tf

from vaeflow.layers import DeterministicPosterior, Posterior
from vaeflow.layers.terms import Term
from vaeflow.models.forward import Forward
from vaeflow.models.passes import Pass
from vaeflow.models.vae import VAE


class Autoencoder(VAE):
    """An autoencoder: minimizes E[c(x, x̂)], to which a family adds the term that shapes the latents.

    x̂ is the mean of p(x|z) and c the sum of (x − x̂)² over pixels and channels, reported as
    `reconstruction_loss`; not in nats. Only the mean of the likelihood is used.

    There is no KL: `kl_weight` and `free_bits` are refused. With a posterior that has one, such as a
    Gaussian, the term `kl` is logged with weight 0. A deterministic encoder has no density, so the KL,
    the ELBO and the likelihood are not defined with it and left out.

    Args:
      **kwargs: as for `VAE`.

    Attributes:
      deterministic: whether the posterior is `DeterministicPosterior()` where none is given, and else
        that of a `VAE`. A family that lets users choose sets it before it calls this constructor.
      without_kl: says what there is instead of a KL, for people.
    """

    deterministic: bool = True
    without_kl: str = "an autoencoder has no KL"

    def __init__(self, **kwargs: Any):
        super().__init__(**kwargs)
        self.refuse_kl_settings(self.without_kl)

    def selection_score(self, results: dict[str, float]) -> float:
        return results["reconstruction_loss"]

    def default_posterior(self) -> Posterior:
        if not self.deterministic:
            return super().default_posterior()
        return DeterministicPosterior(self.num_latents, dtype=self.variable_dtype)

    def likelihood_of(self, latents: tf.Tensor, one_pass: Pass) -> Any:
        # The mean of a Bernoulli would be rounded to 1 early in half precision, with no gradient left.
        outputs = self.in_parts(self.decoder, latents, training=one_pass.training)
        return self.likelihood.distribution(tf.cast(outputs, self.variable_dtype))

    def objective(self, forward: Forward, step: int | tf.Tensor) -> dict[str, Term]:
        images, reconstruction = forward.images, forward.reconstruction.mean
        cost = tf.reduce_sum(tf.math.squared_difference(images, reconstruction), axis=[1, 2, 3])
        terms = {"reconstruction_loss": Term(cost)}
        if forward.has_kl:
            terms["kl"] = Term(forward.kl, 0.0)
        return terms
