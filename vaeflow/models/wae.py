"""The Wasserstein autoencoder."""

from typing import Any

import tensorflow as tf

from vaeflow import registry, schedules, validation
from vaeflow.layers.terms import Term
from vaeflow.models import minibatch_divergences
from vaeflow.models.autoencoder import Autoencoder
from vaeflow.models.forward import Forward


@registry.model
class WAE(Autoencoder):
    """The WAE-MMD (Tolstikhin et al. 2018, arXiv:1711.01558, Alg. 2).

    Minimizes E[c(x, x̂)] + λ MMD(q(z), p(z)), where x̂ is the mean of p(x|z) and c the sum
    of (x − x̂)² over pixels and channels, reported as `reconstruction_loss`; not in nats.
    Only the mean of the likelihood is used.

    The mean of the term `mmd` is the estimate of `minibatch_divergences.mmd`: of the
    squared MMD, unbiased, at times negative. Its `"imq"` kernel sums seven scales, as the
    authors' code does; the paper's one scale has an MMD about seven times smaller.

    There is no KL: `kl_weight` and `free_bits` are refused. With a Gaussian encoder the
    term `kl` is logged with weight 0. A deterministic encoder has no density, so the KL, the
    ELBO and the likelihood are not defined with it and left out.

    Args:
      mmd_weight: λ, a float or a schedule.
      kernel: `"imq"`, inverse multiquadratics, or `"rbf"`.
      deterministic: whether the posterior is `DeterministicPosterior()` where none is given.
      **kwargs: as for `VAE`.
    """

    couples_examples = True
    without_kl = "a WAE has no KL; the MMD has the weight WAE.mmd_weight"
    latents_rank = 2

    def __init__(
        self,
        mmd_weight: validation.Weight = 10.0,
        kernel: str = "imq",
        deterministic: bool = False,
        **kwargs: Any,
    ):
        # Before the blocks are made, which depend on it.
        self.deterministic = validation.boolean("WAE.deterministic", deterministic)
        super().__init__(**kwargs)
        self.mmd_weight = validation.weight("WAE.mmd_weight", mmd_weight)
        self.kernel = validation.one_of("WAE.kernel", kernel, minibatch_divergences.KERNELS)

    def objective(self, forward: Forward, step: int | tf.Tensor) -> dict[str, Term]:
        mmd = minibatch_divergences.mmd(
            self.gather(forward.latents),
            self.prior_samples(forward),
            self.positions(forward.num_examples),
            self.kernel,
        )
        return super().objective(forward, step) | {
            "mmd": Term(mmd, schedules.value_at(self.mmd_weight, step))
        }
