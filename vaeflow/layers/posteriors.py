"""Posteriors q(z|x): how an encoder's features become a distribution over latents."""

from typing import Any

import keras
import tensorflow as tf

from vaeflow import registry, validation
from vaeflow.distributions import Distribution, Gaussian, Point
from vaeflow.errors import ConfigurationError
from vaeflow.kernels.joint_dense import joint_dense
from vaeflow.layers.base import Layer, Shape, build_chain
from vaeflow.layers.terms import Term, Update


class Posterior(Layer):
    """Turns features into the parameters of q(z|x), and those into a distribution.

    `call` maps features, `[B, F]` or a map of them `[B, h, w, F]`, to a nest of tensors `[B, …]`, the
    evidence; `distribution` makes a `Distribution` of it. Between the two, whoever needs several
    samples of an example repeats rows of the evidence. Unless told otherwise a posterior computes
    in the dtype of its variables, since the KL is sensitive to its parameters.

    Args:
      num_latents: D; None lets the model say it.

    Attributes:
      features_rank: how many axes the features have, the batch counted: 2, or 4 for a map.
      scope: which examples a term sees that couples them; see `Model`, which says it.

    Example:
        @registry.posterior
        class NarrowPosterior(Posterior):
            def build(self, input_shape):
                self.mean = keras.layers.Dense(self.num_latents)
                self.mean.build(input_shape)

            def call(self, features):
                return self.mean(features)

            def distribution(self, evidence):
                return Gaussian(evidence, tf.constant(-4.0, evidence.dtype))
    """

    features_rank: int = 2
    scope: str = "global"

    def __init__(self, num_latents: int | None = None, dtype: Any = None, **kwargs: Any):
        policy = keras.dtype_policies.get(dtype)
        super().__init__(dtype=policy.variable_dtype if dtype is None else dtype, **kwargs)
        if num_latents is not None:
            validation.positive_integer(f"{type(self).__name__}.num_latents", num_latents)
        self.num_latents = num_latents

    def use_num_latents(self, num_latents: int) -> None:
        """Takes the number of latents of the model, before it is built.

        Raises:
          ConfigurationError: the posterior was given another one.
        """
        if self.num_latents not in (None, num_latents):
            name = type(self).__name__
            raise ConfigurationError(
                f"`{name}.num_latents` is {self.num_latents}, and the model has {num_latents} latents; leave "
                f"`{name}.num_latents` out"
            )
        self.num_latents = num_latents

    def checked_num_latents(self) -> int:
        """Returns the number of latents, which `build` needs.

        Raises:
          ConfigurationError: nobody has said it.
        """
        if self.num_latents is None:
            name = type(self).__name__
            raise ConfigurationError(f"`{name}.num_latents` must be given outside a model, got None")
        return self.num_latents

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments, with the number of latents that the model set."""
        return super().get_config() | {"num_latents": self.num_latents}

    def latents_shape(self, features_shape: Shape) -> Shape:
        """Returns the shape of the latents that features of a shape give, both with None for the batch."""
        return (*features_shape[:-1], self.checked_num_latents())

    def distribution(self, evidence: Any) -> Distribution:
        """Returns q(z|x) of each row of the evidence, over latents `[r, D]` or `[r, h, w, D]`."""
        raise NotImplementedError(f"{type(self).__name__} must implement `distribution`")

    def distribution_in_training(self, evidence: Any, step: int | tf.Tensor) -> Distribution:
        """Returns what training draws from in place of q(z|x), such as a relaxation; q(z|x) by default.

        Args:
          evidence: as for `distribution`.
          step: the global step, for schedules.
        """
        return self.distribution(evidence)

    def terms(self, draw: Any, step: int | tf.Tensor) -> dict[str, Term]:
        """Returns terms of the objective that belong to this posterior, name -> `Term`; none by default.

        Args:
          draw: the model's `Draw` in training.
          step: the global step.
        """
        return {}

    def updates(self, draw: Any, step: int | tf.Tensor) -> dict[str, Update]:
        """Returns updates of this posterior's variables, name -> `Update`; none by default."""
        return {}


@registry.posterior
class GaussianPosterior(Posterior):
    """A Gaussian with a diagonal covariance, from two linear layers.

    Kingma & Welling 2014 (arXiv:1312.6114), appendix C.2. Features `[B, F]` become
    a pair (mean `[B, D]`, log variance `[B, D]`).

    Args:
      num_latents: D; None lets the model say it.
    """

    def __init__(self, num_latents: int | None = None, **kwargs: Any):
        super().__init__(num_latents, **kwargs)
        # The layers are made here, where their initial weights are seeded in the order of the blocks.
        self.mean = keras.layers.Dense(num_latents or 1)
        self.log_variance = keras.layers.Dense(num_latents or 1)

    def build(self, input_shape: Shape) -> None:
        for layer in (self.mean, self.log_variance):
            layer.units = self.checked_num_latents()
            build_chain([layer], input_shape, self.dtype_policy)

    def call(self, features: tf.Tensor) -> tuple[tf.Tensor, ...]:
        return joint_dense(features, self.mean, self.log_variance)

    def distribution(self, evidence: tuple[tf.Tensor, ...]) -> Gaussian:
        mean, log_variance = evidence
        return Gaussian(mean, log_variance)


@registry.posterior
class DeterministicPosterior(Posterior):
    """One linear layer, whose output is z: an autoencoder's code, without a density.

    What needs a density, such as the KL and the likelihood, is not defined with it.

    Args:
      num_latents: D; None lets the model say it.
    """

    def __init__(self, num_latents: int | None = None, **kwargs: Any):
        super().__init__(num_latents, **kwargs)
        self.code = keras.layers.Dense(num_latents or 1)

    def build(self, input_shape: Shape) -> None:
        self.code.units = self.checked_num_latents()
        build_chain([self.code], input_shape, self.dtype_policy)

    def call(self, features: tf.Tensor) -> tf.Tensor:
        return self.code(features)

    def distribution(self, evidence: tf.Tensor) -> Point:
        return Point(evidence)
