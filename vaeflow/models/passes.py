"""Passes: who decides what the latents of a model are.

A model says in which order it needs its groups of latents, and from which p(z) and q(z|x) each
comes. A pass decides the values: drawn from q in training and for every bound (`Inferred`), q's
center for reconstructions and embeddings (`Centred`), or drawn from p, or given (`Generated`).
"""

import dataclasses
import functools
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import tensorflow as tf

from vaeflow import schedules, validation
from vaeflow.distributions import Distribution, closed_kl, has_density
from vaeflow.errors import ConfigurationError

MakesDistribution = Callable[[], Distribution]


@dataclasses.dataclass(frozen=True)
class Draw:
    """The latents of one group in r rows, and the distributions that they belong to.

    Attributes:
      value: z, `[r, …]`.
      make_prior: makes p(z).
      posterior: q(z|x); None where the latents were not inferred.
      log_posterior: log q(z|x) at the latents, `[r]`, in nats; None where it is unknown.
    """

    value: tf.Tensor
    make_prior: MakesDistribution
    posterior: Any = None
    log_posterior: tf.Tensor | None = None

    @functools.cached_property
    def prior(self) -> Any:
        """p(z), a `Distribution`.

        Raises:
          ConfigurationError: it is one over values of another shape than z.
        """
        prior: Any = self.make_prior()
        expected = self.value.shape[1:]
        found = tf.TensorShape(prior.center.shape)
        # One for each row has the rows in front.
        of_value = found if found.rank is None else found[max(0, found.rank - len(expected)) :]
        if not of_value.is_compatible_with(expected):
            raise ConfigurationError(
                f"the prior {type(prior).__name__} is one over values of the shape {found.as_list()}, the "
                f"latents are {expected.as_list()}; make it for the shape that the prior's `build` gets"
            )
        return prior

    @functools.cached_property
    def log_prior(self) -> tf.Tensor:
        """log p(z) at the latents, `[r]`, in nats."""
        return self.prior.log_prob(self.value)

    @property
    def has_densities(self) -> bool:
        """Whether log q(z|x) and log p(z) at the latents are known."""
        return self.log_posterior is not None and has_density(self.prior)

    @property
    def has_kl(self) -> bool:
        """Whether KL(q ‖ p) is defined."""
        return self.closed_kl is not None or self.has_densities

    @functools.cached_property
    def kl(self) -> tf.Tensor:
        """KL(q(z|x) ‖ p(z)), in nats, `[r, U]`, in U units that add up.

        Each latent is a unit where the KL has a closed form. Where it has none there is one unit,
        the estimate log q(z|x) − log p(z) at the latents.

        Raises:
          ConfigurationError: it has no closed form, and one of the two has no density.
        """
        if self.closed_kl is not None:
            return self.closed_kl
        if not self.has_densities:
            raise ConfigurationError(
                f"the KL needs densities, and {type(self.posterior).__name__} or {type(self.prior).__name__} "
                "has none; choose another posterior or prior, or a model without a KL, such as WAE"
            )
        return (self.log_posterior - self.log_prior)[:, None]  # pyright: ignore[reportOptionalOperand]

    @functools.cached_property
    def closed_kl(self) -> tf.Tensor | None:
        """KL(q(z|x) ‖ p(z)) in closed form, `[r, U]`; None where it has none."""
        return closed_kl(self.posterior, self.prior)


class Pass:
    """Decides the latents of each group as the model asks for them.

    Args:
      step: the global step, an int or scalar tensor; outside of training the end of all
        schedules.
      training: whether blocks behave as in training.
      labels: int64 `[r, F]`, of the rows; None where the model reads none.

    Attributes:
      draws: what was decided so far, group -> `Draw`, in the order of the model.
    """

    def __init__(
        self,
        step: int | tf.Tensor = schedules.END_OF_TIME,
        training: bool = False,
        labels: tf.Tensor | None = None,
    ):
        self.step = step
        self.training = training
        self.labels = labels
        self.draws: dict[str, Draw] = {}

    @property
    def training_step(self) -> int | tf.Tensor | None:
        """The global step in training, None elsewhere; see `Posterior.distribution_in_training`."""
        return self.step if self.training else None

    def draw(
        self, name: str, prior: MakesDistribution, posterior: MakesDistribution, conditional: bool = False
    ) -> tf.Tensor:
        """Decides the latents of a group.

        Args:
          name: of the group, once in a pass.
          prior: makes p(z), for any number of rows, or p(z|…) of each row.
          posterior: makes q(z|x) of each row; it is not called where nothing is inferred.
          conditional: whether p depends on other latents or on labels, so that it has rows.

        Returns:
          z, `[r, …]`.
        """
        if name in self.draws:
            raise ConfigurationError(f"the latents {name!r} are drawn twice; give each group its own name")
        self.draws[name] = self._decided(name, prior, posterior, conditional)
        return self.draws[name].value

    def _decided(
        self, name: str, prior: MakesDistribution, posterior: MakesDistribution, conditional: bool
    ) -> Draw:
        raise NotImplementedError


class Inferred(Pass):
    """z ~ q(z|x): training, the ELBO and importance sampling."""

    def _decided(self, name, prior, posterior, conditional):
        distribution: Any = posterior()
        value, log_posterior = distribution.draw()
        return Draw(value, prior, distribution, log_posterior)


class Centred(Pass):
    """z = the center of q(z|x): reconstructions and embeddings, without noise.

    Args:
      num_inferred: how many groups, 1 or more, come from q; those after them are the centers of p given
        these. None for all.
      **kwargs: as for `Pass`.
    """

    def __init__(self, num_inferred: int | None = None, **kwargs: Any):
        super().__init__(**kwargs)
        if num_inferred is not None:
            validation.positive_integer("num_inferred", num_inferred)
        self.num_inferred = num_inferred

    def _decided(self, name, prior, posterior, conditional):
        if self.num_inferred is None or len(self.draws) < self.num_inferred:
            distribution: Any = posterior()
            return Draw(distribution.center, prior, distribution)
        center = prior().center
        if not conditional:
            center = tf.repeat(center[None], tf.shape(next(iter(self.draws.values())).value)[0], axis=0)
        return Draw(center, prior)


class Generated(Pass):
    """z ~ p(z), or as given: new images and decoding. Nothing is inferred.

    Args:
      num_rows: how many rows, an int or scalar tensor; those that are given, if None.
      given: the latents of groups that are not drawn, group -> `[r, …]`.
      temperature: scales how far the draws spread, 1 for p itself; or a dict, group -> temperature,
        with 1 for groups that it does not name.
      **kwargs: as for `Pass`.
    """

    def __init__(
        self,
        num_rows: Any = None,
        given: Mapping[str, tf.Tensor] | None = None,
        temperature: validation.Temperature = 1.0,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.given = dict(given or {})
        self.num_rows = num_rows
        self.temperature = temperature

    def _decided(self, name, prior, posterior, conditional):
        if name in self.given:
            return Draw(self.given[name], prior)
        distribution: Any = prior()
        each = self.temperature
        temperature = each.get(name, 1.0) if isinstance(each, Mapping) else each
        if temperature != 1.0:
            if not hasattr(distribution, "tempered"):
                raise ConfigurationError(
                    f"the prior {type(distribution).__name__} of {name!r} knows no temperature, got "
                    f"{temperature}; leave it at 1"
                )
            distribution = distribution.tempered(temperature)
        return Draw(distribution.draw(None if conditional else self._rows(name))[0], lambda: distribution)

    def check_names(self, model: Any, names: Iterable[str]) -> None:
        """Raises `ConfigurationError` where one of some names is not that of a group of the model."""
        if unknown := set(names) - self.draws.keys():
            raise ConfigurationError(
                f"{type(model).__name__} has no latents {', '.join(sorted(unknown))}; its groups are "
                f"{', '.join(self.draws)}"
            )

    def _rows(self, name):
        if self.num_rows is None and not self.given:
            raise ConfigurationError(
                f"the latents {name!r} were neither given nor is it said how many to draw"
            )
        return tf.shape(next(iter(self.given.values())))[0] if self.num_rows is None else self.num_rows
