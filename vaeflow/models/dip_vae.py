"""The DIP-VAE, types I and II."""

import functools
from typing import Any

import tensorflow as tf

from vaeflow import registry, schedules, validation
from vaeflow.layers.terms import Term
from vaeflow.models import minibatch_divergences
from vaeflow.models.forward import Forward
from vaeflow.models.vae import VAE

_DEFAULT_RATIOS = {"i": 10.0, "ii": 1.0}


@functools.partial(registry.model, refused={"kind": "set `DIPVAE.variant` instead"})
class DIPVAE(VAE):
    """A VAE whose latents have a covariance near the identity (Kumar et al. 2018, arXiv:1711.00848).

    Minimizes E[−log p(x|z) + KL(q(z|x) ‖ p(z))] + λ_od Σ_{i≠j} C_ij² + λ_d Σ_i (C_ii − 1)².
    Type I (Eq. 6): C is the covariance of the posterior means over the batch; type II
    (Eq. 7): that plus the mean variance of the posteriors, the covariance of z itself.
    The terms are `off_diagonal_covariance` and `diagonal_covariance`.

    Args:
      variant: `"i"` or `"ii"`.
      lambda_od: λ_od, a float or a schedule.
      lambda_d: λ_d, likewise; None for 10 λ_od (type I) or λ_od (type II), as in the
        disentanglement study (Locatello et al. 2019, arXiv:1811.12359).
      **kwargs: as for `VAE`.
    """

    latents_rank = 2

    def __init__(
        self,
        variant: str = "i",
        lambda_od: validation.Weight = 10.0,
        lambda_d: validation.Weight | None = None,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.variant = validation.one_of("DIPVAE.variant", variant, tuple(_DEFAULT_RATIOS))
        self.lambda_od = validation.weight("DIPVAE.lambda_od", lambda_od)
        self.lambda_d = None if lambda_d is None else validation.weight("DIPVAE.lambda_d", lambda_d)

    def objective(self, forward: Forward, step: int | tf.Tensor) -> dict[str, Term]:
        covariance = self._covariance(forward.gaussian("DIPVAE"))
        diagonal = tf.linalg.diag_part(covariance)
        off_diagonal = covariance - tf.linalg.diag(diagonal)
        lambda_od = schedules.value_at(self.lambda_od, step)
        if self.lambda_d is None:
            lambda_d = _DEFAULT_RATIOS[self.variant] * lambda_od
        else:
            lambda_d = schedules.value_at(self.lambda_d, step)
        return super().objective(forward, step) | {
            "off_diagonal_covariance": Term(tf.reduce_sum(tf.square(off_diagonal)), lambda_od),
            "diagonal_covariance": Term(tf.reduce_sum(tf.square(diagonal - 1.0)), lambda_d),
        }

    def _covariance(self, posterior):
        """Returns C, `[D, D]`."""
        mean = self.gather(posterior.mean)
        minibatch_divergences.check_batch_size(mean.shape[0])
        # Centred first: E[mean mean'] − E[mean] E[mean]' cancels.
        centred = mean - tf.reduce_mean(mean, axis=0)
        covariance = tf.matmul(centred, centred, transpose_a=True) / tf.cast(tf.shape(mean)[0], mean.dtype)
        if self.variant == "ii":
            variance = tf.exp(self.gather(posterior.log_variance))
            covariance += tf.linalg.diag(tf.reduce_mean(variance, axis=0))
        return covariance
