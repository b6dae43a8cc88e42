"""What one pass through a model with latents gives its objective."""

import dataclasses
import functools
from typing import Any

import tensorflow as tf

from vaeflow.distributions import Gaussian, ImageDistribution
from vaeflow.errors import ConfigurationError
from vaeflow.models.batches import Batch
from vaeflow.models.passes import Draw


@dataclasses.dataclass(frozen=True)
class Forward:
    """One pass, with K samples of the latents for each of b examples: r = b · K rows.

    The rows of an example follow each other.

    Attributes:
      batch: of the rows, name -> `[r, …]`, this replica's.
      evidence: what `LatentModel.infer` gave, a nest of tensors `[r, …]`.
      draws: group -> `Draw`, in the order of the model.
      reconstruction: p(x|z), a distribution over `[r, H, W, C]`.
      block_losses: scalars that nested blocks tracked with `add_loss`.
      training: whether the blocks behaved as in training.
      num_samples: K.
    """

    batch: Batch
    evidence: Any
    draws: dict[str, Draw]
    reconstruction: ImageDistribution
    block_losses: list
    training: bool = False
    num_samples: int = 1

    @property
    def images(self) -> tf.Tensor:
        """x, `[b, H, W, C]`, floats in [0, 1]."""
        return self.batch["images"][:: self.num_samples] if self.num_samples > 1 else self.batch["images"]

    @property
    def num_examples(self) -> int | tf.Tensor:
        """b: an int, or a scalar int32 tensor where `fit` leaves the size of a batch open."""
        value = next(iter(self.draws.values())).value
        num_rows = value.shape[0]
        return (tf.shape(value)[0] if num_rows is None else num_rows) // self.num_samples

    @functools.cached_property
    def log_likelihood(self) -> tf.Tensor:
        """log p(x|z), in nats, `[b, K]`."""
        return self._by_sample(self._log_likelihood)

    @functools.cached_property
    def reconstruction_loss(self) -> tf.Tensor:
        """−log p(x|z), in nats, `[b]`, the mean over the samples."""
        return self._mean_over_samples(-self._log_likelihood)

    @functools.cached_property
    def log_weight(self) -> tf.Tensor:
        """log p(x|z) + log p(z) − log q(z|x) of all latents, in nats, `[b, K]`.

        The importance weights of Burda et al. 2016 (arXiv:1509.00519, Eq. 8), and for K = 1 the
        integrand of the ELBO.

        Raises:
          ConfigurationError: a group of latents has no densities.
        """
        log_weight = self._log_likelihood
        for name, draw in self.draws.items():
            if not draw.has_densities:
                raise ConfigurationError(
                    f"importance weights need densities, and {type(draw.posterior).__name__} or "
                    f"{type(draw.prior).__name__} of the latents {name!r} has none; choose another"
                )
            log_posterior: Any = draw.log_posterior
            log_weight += draw.log_prior - log_posterior
        return self._by_sample(log_weight)

    @property
    def has_kl(self) -> bool:
        """Whether the KL of all groups is defined."""
        return all(draw.has_kl for draw in self.draws.values())

    @property
    def has_densities(self) -> bool:
        """Whether all latents have densities, which `log_weight` needs."""
        return all(draw.has_densities for draw in self.draws.values())

    @functools.cached_property
    def kl(self) -> tf.Tensor:
        """KL(q(z|x) ‖ p(z)), in nats, `[b]`: the sum over all groups, the mean over the samples.

        Raises:
          ConfigurationError: it is not defined for a group.
        """
        each = [tf.reduce_sum(draw.kl, axis=1) for draw in self.draws.values()]
        return self._mean_over_samples(each[0] if len(each) == 1 else tf.add_n(each))

    def kl_of(self, group: str) -> tf.Tensor:
        """Returns the KL of each unit of a group, `[b, U]`, the mean over the samples; see `Draw.kl`."""
        kl = self.draws[group].kl
        if self.num_samples == 1:
            return kl
        return tf.reduce_mean(tf.reshape(kl, (-1, self.num_samples, kl.shape[1])), axis=1)

    @property
    def draw(self) -> Draw:
        """The draw of a model with one group of latents.

        Raises:
          ConfigurationError: it has several.
        """
        if len(self.draws) > 1:
            raise ConfigurationError(
                f"this needs a model with one group of latents, got {', '.join(self.draws)}; read "
                "`Forward.draws` of each"
            )
        return next(iter(self.draws.values()))

    @property
    def latents(self) -> tf.Tensor:
        """z ~ q(z|x) of a model with one group, `[r, …]`."""
        return self.draw.value

    @property
    def posterior(self) -> Any:
        """q(z|x) of a model with one group, a `Distribution`."""
        return self.draw.posterior

    @property
    def prior(self) -> Any:
        """p(z) of a model with one group, a `Distribution`."""
        return self.draw.prior

    @property
    def log_prior(self) -> tf.Tensor:
        """log p(z) at the latents of a model with one group, `[r]`, in nats."""
        return self.draw.log_prior

    def gaussian(self, name: str) -> Gaussian:
        """Returns q(z|x) for an objective that needs a Gaussian.

        Args:
          name: of the model, for the message.

        Raises:
          ConfigurationError: q is something else.
        """
        if not isinstance(self.posterior, Gaussian):
            raise ConfigurationError(
                f"{name} is defined for a Gaussian posterior, got {type(self.posterior).__name__}; leave "
                f"`{name}.posterior` out, or set it to @GaussianPosterior()"
            )
        return self.posterior

    @functools.cached_property
    def _log_likelihood(self):
        return self.reconstruction.log_prob(self.batch["images"])

    def _by_sample(self, values):
        return tf.reshape(values, (-1, self.num_samples))

    def _mean_over_samples(self, values):
        return values if self.num_samples == 1 else tf.reduce_mean(self._by_sample(values), axis=1)
