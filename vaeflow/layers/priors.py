"""Priors p(z) over the latents."""

from typing import Any

import tensorflow as tf

from vaeflow import registry
from vaeflow.distributions import Distribution, Gaussian
from vaeflow.errors import ConfigurationError
from vaeflow.layers.base import Layer, Shape

# What a prior had up to vaeflow 0.1.
_OLD_METHODS = ("kl", "kl_per_dimension", "log_prob", "sample")


class Prior(Layer):
    """A distribution over latents. A subclass may have variables.

    `build` gets the shape of the latents, `(None, D)`, or `(None, h, w, D)` where they are a map.

    Attributes:
      latents_rank: how many axes the latents have that it takes, the batch counted: 2, or 4 for a
        map; None for any.
      image_shape: `(H, W, C)` of the images, which the model sets before it builds the prior.

    Example:
        @registry.prior
        class WidePrior(Prior):
            def build(self, input_shape):
                self.log_variance = self.add_weight(shape=(input_shape[-1],), initializer="zeros")

            def distribution(self, model):
                log_variance = tf.convert_to_tensor(self.log_variance)
                return Gaussian(tf.zeros_like(log_variance), log_variance)
    """

    latents_rank: int | None = 2
    image_shape: tuple[int, ...] | None = None

    def __init_subclass__(cls, **kwargs: Any):
        super().__init_subclass__(**kwargs)
        old = [name for name in _OLD_METHODS if name in cls.__dict__]
        if old and cls.distribution is Prior.distribution:
            raise ConfigurationError(
                f"{cls.__name__}.{old[0]} is of vaeflow 0.1: a prior has one method, distribution(self, "
                "model), which returns p(z), such as Gaussian(mean, log_variance); see docs/models.md"
            )

    def distribution(self, model: Any) -> Distribution:
        """Returns p(z), a distribution for any number of rows `[D]` or `[h, w, D]`.

        Args:
          model: the model, for a prior that depends on its blocks. A prior keeps no reference to
            it: saving would follow the circle without end.
        """
        raise NotImplementedError(f"{type(self).__name__} must implement `distribution`")


@registry.prior
class StandardNormalPrior(Prior):
    """p(z) = N(0, I) (Kingma & Welling 2014, arXiv:1312.6114, section 3)."""

    latents_rank = None

    def build(self, input_shape: Shape) -> None:
        """Has no variables."""
        self.latents_shape = tuple(input_shape[1:])

    def distribution(self, model: Any) -> Gaussian:
        zeros = tf.zeros(self.latents_shape, model.variable_dtype)
        return Gaussian(zeros, zeros)
