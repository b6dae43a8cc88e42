"""The posterior of categorical latents, relaxed in training."""

from typing import Any

import keras
import tensorflow as tf

from vaeflow import registry, schedules, validation
from vaeflow.distributions import OneHotCategorical, RelaxedOneHotCategorical
from vaeflow.layers.base import Shape, build_chain
from vaeflow.layers.posteriors import Posterior


@registry.posterior
class GumbelSoftmaxPosterior(Posterior):
    """G independent categorical latents of K categories each, relaxed in training.

    Jang et al. 2017 (arXiv:1611.01144) and Maddison et al. 2017 (arXiv:1611.00712, the concrete
    distribution). In training a draw is softmax((logits + Gumbel noise) / τ), which has a gradient; with
    `straight_through` it is rounded to the nearest category first. Everywhere else categories are drawn,
    as one-hot vectors, or the likeliest taken: evaluations, likelihoods and samples are those of the
    model with discrete latents. The prior is `UniformCodes`, and the KL that of the categorical, log K
    less the entropy of each latent, in training too.

    Features `[B, F]` become logits `[B, G, K]`, by a linear layer; the decoder sees `[B, G · K]` numbers.

    Args:
      num_latents: G, the number of variables; None lets the model say it.
      num_categories: K.
      temperature: τ, above 0, a float or a schedule such as `ExponentialSchedule`.
      straight_through: whether the decoder sees one-hot vectors in training too.

    Raises:
      ValueError: a setting is out of range.
    """

    def __init__(
        self,
        num_latents: int | None = None,
        num_categories: int = 10,
        temperature: validation.Weight = 1.0,
        straight_through: bool = False,
        **kwargs: Any,
    ):
        super().__init__(num_latents, **kwargs)
        name = "GumbelSoftmaxPosterior"
        self.num_categories = validation.positive_integer(f"{name}.num_categories", num_categories)
        self.temperature = validation.weight(f"{name}.temperature", temperature)
        _check_above_zero(f"{name}.temperature", self.temperature)
        self.straight_through = validation.boolean(f"{name}.straight_through", straight_through)
        self.logits = keras.layers.Dense((num_latents or 1) * num_categories)

    @property
    def code_sizes(self) -> tuple[int, ...]:
        """K for each variable."""
        return (self.num_categories,) * self.checked_num_latents()

    def build(self, input_shape: Shape) -> None:
        self.logits.units = sum(self.code_sizes)
        build_chain([self.logits], input_shape, self.dtype_policy)

    def latents_shape(self, features_shape: Shape) -> Shape:
        return (*features_shape[:-1], sum(self.code_sizes))

    def call(self, features: tf.Tensor) -> tf.Tensor:
        return tf.reshape(self.logits(features), (-1, self.checked_num_latents(), self.num_categories))

    def distribution(self, evidence: tf.Tensor) -> OneHotCategorical:
        return OneHotCategorical(tf.cast(evidence, self.variable_dtype))

    def distribution_in_training(
        self, evidence: tf.Tensor, step: int | tf.Tensor
    ) -> RelaxedOneHotCategorical:
        temperature = schedules.value_at(self.temperature, step)
        return RelaxedOneHotCategorical(self.distribution(evidence), temperature, self.straight_through)

    def embed_codes(self, codes: tf.Tensor) -> tf.Tensor:
        """Returns what the decoder sees of categories, int32 `[r, …, G]`: one-hot vectors `[r, G · K]`."""
        one_hot = tf.one_hot(codes, self.num_categories, dtype=self.variable_dtype)
        return tf.reshape(one_hot, (-1, sum(self.code_sizes)))


def _check_above_zero(name, temperature):
    """Refuses a temperature, or a schedule that begins or ends at one, at which nothing is relaxed."""
    if isinstance(temperature, schedules.Schedule):
        validation.positive_number(f"{type(temperature).__name__}.start", temperature.start)
        validation.positive_number(f"{type(temperature).__name__}.end", temperature.end)
    elif not callable(temperature):
        validation.positive_number(name, temperature)
