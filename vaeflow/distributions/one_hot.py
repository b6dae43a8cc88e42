"""Categorical variables as vectors with a single 1, and their relaxation."""

import dataclasses
import math
from typing import Any

import tensorflow as tf

from vaeflow import random
from vaeflow.distributions.base import Distribution, full_precision
from vaeflow.distributions.codes import UniformOverCodes
from vaeflow.errors import ConfigurationError


@dataclasses.dataclass(frozen=True)
class OneHotCategorical:
    """G independent variables of K categories; each is a vector of K numbers, a 1 and zeros.

    A value is all vectors one after the other, `[r, G · K]`. Its codes are those of a map of one place.

    Args:
      logits: unnormalized log probabilities, `[r, G, K]`.
    """

    logits: Any

    @property
    def center(self) -> tf.Tensor:
        """The likeliest category of each variable."""
        return self._one_hot(self.codes)

    @property
    def codes(self) -> tf.Tensor:
        """The likeliest categories as numbers, int32 `[r, 1, 1, G]`."""
        return tf.argmax(self.logits, axis=-1, output_type=tf.int32)[:, None, None]

    @property
    def code_sizes(self) -> tuple[int, ...]:
        """K for each variable."""
        num_variables, num_categories = self.logits.shape[1:]
        return (num_categories,) * num_variables

    @property
    def parameters(self) -> dict[str, tf.Tensor]:
        """`codes` and `probabilities`, `[r, G, K]`."""
        return {"codes": self.codes, "probabilities": tf.nn.softmax(full_precision(self.logits))}

    def draw(self, num_rows: Any = None, shared: bool = False) -> tuple[tf.Tensor, tf.Tensor]:  # noqa: ARG002 -- `Distribution`
        """Draws by the Gumbel-max trick (Jang et al. 2017, arXiv:1611.01144, Eq. 1)."""
        value = self._one_hot(tf.argmax(self.perturbed_logits(shared), axis=-1))
        return value, self.log_prob(value)

    def perturbed_logits(self, shared: bool = False) -> tf.Tensor:
        """Returns the logits with Gumbel noise, whose largest is a draw, `[r, G, K]`."""
        logits: Any = full_precision(self.logits)
        return logits + random.gumbel((tf.shape(logits)[0], *logits.shape[1:]), logits.dtype, shared)

    def log_prob(self, value: tf.Tensor) -> tf.Tensor:
        """Returns the log probability of values `[r, G · K]`, in nats, `[r]`."""
        log_probs = tf.nn.log_softmax(full_precision(self.logits))
        by_variable = tf.reshape(tf.cast(value, log_probs.dtype), tf.shape(log_probs))
        return tf.reduce_sum(log_probs * by_variable, axis=[1, 2])

    def kl(self, other: Distribution) -> tf.Tensor:
        """Returns KL(self ‖ other), log K less the entropy of each variable, `[r, G]`.

        Raises:
          ConfigurationError: `other` is not one over codes.
        """
        if not isinstance(other, UniformOverCodes):
            raise ConfigurationError(
                f"categorical latents need a prior over codes, got {type(other).__name__}; set the model's "
                "`prior` to @UniformCodes()"
            )
        log_probs = tf.nn.log_softmax(full_precision(self.logits))
        return math.log(self.code_sizes[0]) + tf.reduce_sum(tf.exp(log_probs) * log_probs, axis=-1)

    def _one_hot(self, codes):
        num_variables, num_categories = self.logits.shape[1:]
        one_hot = tf.one_hot(codes, num_categories, dtype=full_precision(self.logits).dtype)
        return tf.reshape(one_hot, (-1, num_variables * num_categories))


@dataclasses.dataclass(frozen=True)
class RelaxedOneHotCategorical:
    """The Gumbel-softmax or concrete distribution: draws of a `OneHotCategorical` that have a gradient.

    Jang et al. 2017 (arXiv:1611.01144), section 2; Maddison et al. 2017 (arXiv:1611.00712), section 3. It
    stands for the categorical in training: its KL and center are the categorical's, and it has no density
    of its own, since that of relaxed values would bound another model.

    Args:
      categorical: what is relaxed.
      temperature: τ, above 0, a float or scalar tensor.
      straight_through: whether a draw is the nearest one-hot vector, with the gradient of the relaxed one
        (section 2.2 of Jang et al.).
    """

    categorical: OneHotCategorical
    temperature: Any
    straight_through: bool = False

    @property
    def center(self) -> tf.Tensor:
        """The likeliest category of each variable."""
        return self.categorical.center

    @property
    def codes(self) -> tf.Tensor:
        """The likeliest categories as numbers, int32 `[r, 1, 1, G]`."""
        return self.categorical.codes

    @property
    def code_sizes(self) -> tuple[int, ...]:
        """K for each variable."""
        return self.categorical.code_sizes

    @property
    def parameters(self) -> dict[str, tf.Tensor]:
        """Those of the categorical."""
        return self.categorical.parameters

    def draw(self, num_rows: Any = None, shared: bool = False) -> tuple[tf.Tensor, None]:  # noqa: ARG002 -- `Distribution`
        """Draws softmax((logits + Gumbel noise) / τ), `[r, G · K]` (Eq. 2 of Jang et al.), and no density."""
        perturbed: Any = self.categorical.perturbed_logits(shared)
        relaxed = tf.nn.softmax(perturbed / self._temperature_as(perturbed.dtype))
        if self.straight_through:
            hard = tf.one_hot(tf.argmax(perturbed, axis=-1), perturbed.shape[-1], dtype=perturbed.dtype)
            # The added difference is 0, and has the gradient of the relaxed draw.
            relaxed = hard + (relaxed - tf.stop_gradient(relaxed))
        return tf.reshape(relaxed, (-1, perturbed.shape[1] * perturbed.shape[2])), None

    def kl(self, other: Distribution) -> tf.Tensor:
        """Returns the KL of the categorical, `[r, G]`; see `OneHotCategorical.kl`."""
        return self.categorical.kl(other)

    def _temperature_as(self, dtype):
        if isinstance(self.temperature, (int, float)):
            return tf.constant(self.temperature, dtype)  # `tf.cast` would take it through float32.
        return tf.cast(self.temperature, dtype)
