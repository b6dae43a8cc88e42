"""The beta-TCVAE."""

from typing import Any

import tensorflow as tf

from vaeflow import registry, schedules, validation
from vaeflow.distributions import Gaussian
from vaeflow.errors import ConfigurationError
from vaeflow.layers.terms import Term
from vaeflow.models import minibatch_divergences
from vaeflow.models.forward import Forward
from vaeflow.models.vae import VAE


@registry.model
class BetaTCVAE(VAE):
    """A VAE whose KL is split into three parts (Chen et al. 2018, arXiv:1802.04942, Eq. 4).

    Minimizes E[−log p(x|z)] + α MI + β TC + γ DWKL, with the parts of the mean KL (Eq. 2)

    * `mutual_information`, between the image and its latents: log q(z|x) − log q(z);
    * `total_correlation`, how far latents depend on each other:
      log q(z) − log Π_d q(z_d);
    * `dimension_wise_kl`, of each latent from the prior: log Π_d q(z_d) − log p(z).

    The sum of the three is exactly log q(z|x) − log p(z), a sampled KL (Eq. 5 in some
    versions of the paper). q(z), over the training set, is estimated from the batch.
    With `"mws"` the parts are shifted, MI by about + log N and the others to match, so do
    not read them as nats; the gradient is not shifted. With `"mss"` they are in nats.

    The study (Locatello et al. 2019, arXiv:1811.12359) uses the analytic KL + (β − 1) TC
    instead, equal in expectation if α = γ = 1. The term `kl`, the analytic KL, is logged
    with weight 0. Free bits add the deficit of the analytic KL; they are a true floor only
    if α = β = γ.

    Args:
      alpha: α, the weight of the mutual information, a float or a schedule; like the
        next two it multiplies `kl_weight`.
      beta: β, the weight of the total correlation.
      gamma: γ, the weight of the dimension-wise KL.
      estimator: `"mws"`, minibatch weighted sampling, or `"mss"`, minibatch stratified
        sampling; see `minibatch_divergences.log_aggregate_posterior`.
      num_examples: N, the size of the training set; None lets the Trainer fill it in.
        Outside the Trainer, None treats the batch as the training set and refuses `"mss"`.
      **kwargs: as for `VAE`.
    """

    couples_examples = True
    latents_rank = 2

    def __init__(
        self,
        alpha: validation.Weight = 1.0,
        beta: validation.Weight = 6.0,
        gamma: validation.Weight = 1.0,
        estimator: str = "mws",
        num_examples: int | None = None,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.alpha = validation.weight("BetaTCVAE.alpha", alpha)
        self.beta = validation.weight("BetaTCVAE.beta", beta)
        self.gamma = validation.weight("BetaTCVAE.gamma", gamma)
        self.estimator = validation.one_of("BetaTCVAE.estimator", estimator, minibatch_divergences.ESTIMATORS)
        if num_examples is not None:
            num_examples = validation.positive_count("BetaTCVAE.num_examples", num_examples)
        self.num_examples = num_examples

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments, with the number of examples that the Trainer has set."""
        return super().get_config() | {"num_examples": self.num_examples}

    def objective(self, forward: Forward, step: int | tf.Tensor) -> dict[str, Term]:
        terms = super().objective(forward, step)
        terms["kl"] = terms["kl"]._replace(weight=0.0)
        posterior = forward.gaussian("BetaTCVAE")
        mean, log_variance = self.gather(posterior.mean), self.gather(posterior.log_variance)
        self._check_num_examples(mean.shape[0])
        latents = forward.latents
        log_joint, log_product = minibatch_divergences.log_aggregate_posterior(
            Gaussian(mean[None], log_variance[None]).log_prob_per_dimension(latents[:, None]),
            self.positions(forward.num_examples),
            1 if self.num_examples is None else self.num_examples,
            self.estimator,
        )
        parts: dict[str, tuple[tf.Tensor, Any]] = {
            "mutual_information": (posterior.log_prob(latents) - log_joint, self.alpha),
            "total_correlation": (log_joint - log_product, self.beta),
            "dimension_wise_kl": (log_product - forward.log_prior, self.gamma),
        }
        for name, (value, weight) in parts.items():
            factor: Any = schedules.value_at(weight, step)
            terms[name] = Term(value, factor * self.kl_weight_at(step))
        return terms

    def _check_num_examples(self, batch_size):
        if self.estimator == "mws":
            return
        if self.num_examples is None:
            raise ConfigurationError(
                "`BetaTCVAE.num_examples` must be the size of the training set with the estimator 'mss', got "
                "None; the Trainer fills it in; elsewhere set it yourself"
            )
        if batch_size is not None and batch_size > self.num_examples:
            raise ConfigurationError(
                f"`BetaTCVAE.num_examples` must be at least the batch size, {batch_size}, with the estimator "
                f"'mss', got {self.num_examples}; lower `train.batch_size` or set the estimator to 'mws'"
            )
