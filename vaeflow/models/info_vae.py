"""The InfoVAE with the maximum mean discrepancy."""

from typing import Any

import tensorflow as tf

from vaeflow import registry, schedules, validation
from vaeflow.errors import ConfigurationError
from vaeflow.layers.terms import Term
from vaeflow.models import minibatch_divergences
from vaeflow.models.forward import Forward
from vaeflow.models.vae import VAE

_FIRST_AND_LAST_STEP = (0, 2**30)


@registry.model
class InfoVAE(VAE):
    """The MMD-VAE (Zhao et al. 2017, arXiv:1706.02262, Eq. 6).

    Minimizes E[−log p(x|z)] + (1 − α) E[KL(q(z|x) ‖ p(z))] + (α + λ − 1) MMD(q(z), p(z)):
    α raises the information that latents carry about the image; λ pulls the latents of
    all images together towards the prior. α = 0 and λ = 1 is the VAE.

    The mean of the term `mmd` is the estimate of `minibatch_divergences.mmd`: of the
    squared MMD, unbiased, at times negative. The paper's code uses a biased estimate with
    another width, so its λ (1000 on MNIST) does not carry over.

    Args:
      alpha: α, at most 1.
      mmd_scale: λ, a float or a schedule; α + λ must be at least 1.
      kernel: `"imq"`, inverse multiquadratics, or `"rbf"`.
      **kwargs: as for `VAE`; `kl_weight` multiplies 1 − α.
    """

    couples_examples = True
    latents_rank = 2

    def __init__(
        self, alpha: float = 0.0, mmd_scale: validation.Weight = 10.0, kernel: str = "imq", **kwargs: Any
    ):
        super().__init__(**kwargs)
        self.alpha = validation.finite_number("InfoVAE.alpha", alpha)
        if self.alpha > 1:
            raise ConfigurationError(
                f"`InfoVAE.alpha` must be a number of at most 1, got {alpha!r}: the KL weighs 1 - alpha"
            )
        self.mmd_scale = validation.weight("InfoVAE.mmd_scale", mmd_scale)
        self.kernel = validation.one_of("InfoVAE.kernel", kernel, minibatch_divergences.KERNELS)
        smallest = min(self._mmd_weights_at_ends())
        if smallest < 0:
            raise ConfigurationError(
                "the weight of the MMD, `InfoVAE.alpha` + `InfoVAE.mmd_scale` - 1, must be at least 0, got "
                f"{smallest:g}, which would drive the latents away from the prior; raise InfoVAE.mmd_scale"
            )

    def kl_weight_at(self, step: int | tf.Tensor) -> float | tf.Tensor:
        return (1.0 - self.alpha) * super().kl_weight_at(step)

    def mmd_weight_at(self, step: int | tf.Tensor) -> float | tf.Tensor:
        """Returns the weight of the MMD at a step, a float or scalar tensor."""
        return self.alpha + schedules.value_at(self.mmd_scale, step) - 1.0

    def _mmd_weights_at_ends(self):
        """Returns the weight of the MMD at both ends of its schedule, one of which is the smallest."""
        if isinstance(self.mmd_scale, schedules.Schedule):
            return [self.alpha + end - 1.0 for end in (self.mmd_scale.start, self.mmd_scale.end)]
        return [float(self.mmd_weight_at(step)) for step in _FIRST_AND_LAST_STEP]

    def objective(self, forward: Forward, step: int | tf.Tensor) -> dict[str, Term]:
        mmd = minibatch_divergences.mmd(
            self.gather(forward.latents),
            self.prior_samples(forward),
            self.positions(forward.num_examples),
            self.kernel,
        )
        return super().objective(forward, step) | {"mmd": Term(mmd, self.mmd_weight_at(step))}
