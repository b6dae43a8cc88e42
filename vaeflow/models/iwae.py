"""The importance weighted autoencoder, with several bounds (MIWAE) or a part of the ELBO (CIWAE)."""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from vaeflow import registry, schedules, validation
from vaeflow.distributions import has_density
from vaeflow.errors import ConfigurationError
from vaeflow.layers.terms import Term
from vaeflow.models import batches
from vaeflow.models.batches import Batch
from vaeflow.models.forward import Forward
from vaeflow.models.vae import VAE

ESTIMATORS = ("standard", "dreg", "stl")


@registry.model
class IWAE(VAE):
    """The importance weighted autoencoder (Burda, Grosse & Salakhutdinov 2016, arXiv:1509.00519).

    Maximizes L_K = E[log 1/K Σ_k w_k] (Eq. 8), where w_k = p(x|z_k) p(z_k) / q(z_k|x) for K samples
    z_k ~ q(z|x): a lower bound on log p(x), the ELBO for K = 1, and tighter the larger K. The term
    `negative_iwae_bound` is −L_K in nats; `reconstruction_loss` and `kl` are logged with weight 0.

    The estimators have the same value and differ in the gradient for the parameters of q(z|x).
    Those of p(x|z) and p(z) always get Σ_k w̃_k ∂ log w_k, where w̃_k = w_k / Σ_j w_j:

    - `"standard"`: Σ_k w̃_k ∂ log w_k by the reparameterization trick (Eq. 13 and 14). The larger
      K, the more its noise outweighs it;
    - `"dreg"`: Σ_k w̃_k² ∂ log w_k / ∂z_k · ∂z_k, "doubly reparameterized" (Tucker et al. 2019,
      arXiv:1810.04152): the same mean with less variance;
    - `"stl"`: Σ_k w̃_k ∂ log w_k / ∂z_k · ∂z_k, "sticking the landing" (Roeder, Wu & Duvenaud 2017,
      arXiv:1703.09194): the first without the score ∂ log q(z_k|x), whose mean is 0 for K = 1.
      For K > 1 it is biased. Where q is the exact posterior it is 0 without noise.

    The larger K, the better the gradient of p(x|z), and the noisier that of q(z|x). Two settings trade
    one for the other (Rainforth et al. 2018, arXiv:1802.04537, section 5), with every estimator:

    - MIWAE: `num_bounds` M averages the bounds of M times K samples, 1/M Σ_m log 1/K Σ_k w_mk;
    - CIWAE: `elbo_weight` β mixes them with the ELBO of the same samples,
      β 1/(M K) Σ_mk log w_mk + (1 − β) L_K. Its term is `negative_elbo`.

    Outside of training one sample is drawn, and the bound is the ELBO. An evaluation reports
    the bound of all samples too, by which the best checkpoint is chosen. The KL has no part in the bound:
    `kl_weight` and `free_bits` are refused.

    Args:
      num_samples: K, the number of samples of a bound.
      estimator: `"standard"`, `"dreg"` or `"stl"`. The last two need a posterior that knows the
        density of any value, and has no variables of its own beyond its evidence.
      num_bounds: M.
      elbo_weight: β, from 0 to 1.
      **kwargs: as for `VAE`.

    Raises:
      ValueError: `num_samples` is no positive integer, or a setting is out of range.
    """

    def __init__(
        self,
        num_samples: int = 5,
        estimator: str = "standard",
        num_bounds: int = 1,
        elbo_weight: float = 0.0,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.num_samples = validation.positive_integer("IWAE.num_samples", num_samples)
        self.estimator = validation.one_of("IWAE.estimator", estimator, ESTIMATORS)
        self.num_bounds = validation.positive_integer("IWAE.num_bounds", num_bounds)
        self.elbo_weight = validation.probability("IWAE.elbo_weight", elbo_weight)
        self.refuse_kl_settings("an IWAE has no KL term; its bound has a weight of 1")

    @property
    def num_training_samples(self) -> int:
        return self.num_bounds * self.num_samples

    def forward_rows(
        self,
        rows: Batch,
        evidence: Any,
        step: int | tf.Tensor = schedules.END_OF_TIME,
        training: bool = False,
        num_samples: int = 1,
    ) -> Forward:
        """Draws and decodes; see `LatentModel.forward_rows`.

        In training the gradient of the bound over `log_weight` is that of the estimator.
        """
        if self.estimator == "standard" or not training:
            return super().forward_rows(rows, evidence, step, training, num_samples)
        constant = tf.nest.map_structure(tf.stop_gradient, evidence)
        if self.estimator == "dreg":
            # A factor for each path from q to the objective; it is called when all is known.
            evidence = tf.nest.map_structure(
                lambda value: _with_weighted_gradient(value, lambda: self._dreg_factors(forward)), evidence
            )
        forward = super().forward_rows(rows, evidence, step, training, num_samples)
        # Without the score: q's parameters act through z alone.
        pathwise = dataclasses.replace(forward.draw, log_posterior=self._density_of(constant, forward, step))
        forward = dataclasses.replace(forward, draws={self.sole_group: pathwise})
        return forward

    def objective(self, forward: Forward, step: int | tf.Tensor) -> dict[str, Term]:
        terms = {
            "negative_iwae_bound": Term(-self._bound(forward), 1.0 - self.elbo_weight),
            "reconstruction_loss": Term(forward.reconstruction_loss, 0.0),
            "kl": Term(forward.kl, 0.0),
        }
        if self.elbo_weight:
            terms["negative_elbo"] = Term(-tf.reduce_mean(forward.log_weight, axis=1), self.elbo_weight)
        return terms | self.posterior.terms(forward.draw, step)

    def evaluated(self, forward: Forward) -> dict[str, tf.Tensor]:
        count = self.num_training_samples
        rows, evidence = batches.repeated((forward.batch, forward.evidence), count)
        weighted = self.forward_rows(rows, evidence, num_samples=count)
        return {"negative_iwae_bound": -self._bound(weighted)}

    def selection_score(self, results: dict[str, float]) -> float:
        return results["negative_iwae_bound"]

    def _density_of(self, evidence, forward, step):
        """Returns log q(z|x) `[r]`, and sees to it that nothing but the evidence and z has a gradient."""
        with tf.GradientTape() as tape:
            posterior: Any = self.posterior_distribution(evidence, step)
            log_posterior = posterior.log_prob(forward.latents) if has_density(posterior) else None
        if log_posterior is None or tape.watched_variables():
            problem = "it has none" if log_posterior is None else "it depends on variables of the posterior's"
            raise ConfigurationError(
                f"`IWAE.estimator = {self.estimator!r}` needs a density q(z|x) of the posterior's evidence "
                f"alone, and with {type(self.posterior).__name__} {problem}; choose GaussianPosterior, or "
                "the estimator 'standard'"
            )
        return log_posterior

    def _bound(self, forward):
        """Returns 1/M Σ_m log 1/K Σ_k w_mk of each example, in nats, `[b]`."""
        log_weights = self._by_bound(forward)
        bounds = tf.reduce_logsumexp(log_weights, axis=1) - math.log(log_weights.shape[1])
        return tf.reduce_mean(tf.reshape(bounds, (-1, self._num_bounds(forward))), axis=1)

    def _dreg_factors(self, forward):
        """Returns what the gradient of q is multiplied by, of each row, as constants, `[r]`.

        That of log w_mk is ((1 − β) w̃_mk + β/K) / M, where w̃_mk = w_mk / Σ_j w_mj; it becomes
        ((1 − β) w̃_mk² + β/K) / M.
        """
        log_weights = self._by_bound(forward)
        weights: Any = tf.stop_gradient(tf.reshape(tf.nn.softmax(log_weights), [-1]))
        if not self.elbo_weight:
            return weights
        of_bound = (1.0 - self.elbo_weight) * weights
        of_elbo = self.elbo_weight / log_weights.shape[1]
        return (of_bound * weights + of_elbo) / (of_bound + of_elbo)

    def _by_bound(self, forward) -> Any:
        """Returns log w of the samples of each bound, `[b M, K]`."""
        num_samples = forward.num_samples // self._num_bounds(forward)
        return tf.reshape(forward.log_weight, (-1, num_samples))

    def _num_bounds(self, forward):
        """Returns M; 1 for a pass with another number of samples, which are those of one bound."""
        return self.num_bounds if forward.num_samples == self.num_training_samples else 1


def _with_weighted_gradient(value: tf.Tensor, weights: Callable[[], tf.Tensor]) -> tf.Tensor:
    """Returns a value `[r, …]` whose gradient is multiplied by a weight for each row.

    Args:
      value: `[r, …]`.
      weights: gives the weights, `[r]`; called when the gradient is taken.
    """

    @tf.custom_gradient
    def identity(value):
        def weighted(upstream):
            shape = [-1, *[1] * (upstream.shape.rank - 1)]
            return upstream * tf.cast(tf.reshape(weights(), shape), upstream.dtype)

        return tf.identity(value), weighted

    return identity(value)  # pyright: ignore[reportReturnType]
