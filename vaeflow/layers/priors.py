"""Priors p(z) over the latents."""

from typing import Any

import tensorflow as tf

from vaeflow import registry
from vaeflow.distributions import Distribution, Gaussian
from vaeflow.layers.base import Layer, Shape


class Prior(Layer):
    """A distribution over latents. A subclass may have variables.

    `build` gets the shape of the latents, `(None, D)`.

    Attributes:
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

    image_shape: tuple[int, ...] | None = None

    def distribution(self, model: Any) -> Distribution:
        """Returns p(z), a distribution for any number of rows `[D]`.

        Args:
          model: the model, for a prior that depends on its blocks. A prior keeps no reference to
            it: saving would follow the circle without end.
        """
        raise NotImplementedError(f"{type(self).__name__} must implement `distribution`")


@registry.prior
class StandardNormalPrior(Prior):
    """p(z) = N(0, I) (Kingma & Welling 2014, arXiv:1312.6114, section 3)."""

    def build(self, input_shape: Shape) -> None:
        """Has no variables."""
        self.latents_shape = tuple(input_shape[1:])

    def distribution(self, model: Any) -> Gaussian:
        zeros = tf.zeros(self.latents_shape, model.variable_dtype)
        return Gaussian(zeros, zeros)
