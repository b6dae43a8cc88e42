"""The base of models that train a discriminator of latents."""

from collections.abc import Sequence
from typing import Any

import keras

from vaeflow import validation
from vaeflow.errors import ConfigurationError
from vaeflow.layers.base import Shape, build_once
from vaeflow.layers.discriminator import Discriminator
from vaeflow.models.vae import VAE
from vaeflow.optimizers import Adam, ParameterGroup


class LatentDiscriminator(VAE):
    """A VAE with a discriminator D of its latents, `self.discriminator`: one logit for each vector.

    D is the parameter group `"discriminator"`, with an optimizer of its own: a term with that group trains
    it, and no other.

    Args:
      discriminator_units: widths of D's hidden layers.
      discriminator_optimizer: a Keras optimizer for D alone, in gin
        `@discriminator/Adam()`; None for Adam with 1e-4, 0.5 and 0.9.
      discriminator_gradient_clip_norm: the largest global norm of D's gradient, or None.
      **kwargs: as for `VAE`.
    """

    latents_rank = 2

    def __init__(
        self,
        discriminator_units: Sequence[int] = (1000,) * 6,
        discriminator_optimizer: keras.optimizers.Optimizer | None = None,
        discriminator_gradient_clip_norm: float | None = None,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        name = type(self).__name__
        units = validation.positive_integers(f"{name}.discriminator_units", discriminator_units)
        self.discriminator = Discriminator(units, self.compute_dtype, dtype=self.variable_dtype)
        if discriminator_optimizer is None:
            discriminator_optimizer = Adam(1e-4, beta_1=0.5, beta_2=0.9)
        if not isinstance(discriminator_optimizer, keras.optimizers.Optimizer):
            raise ConfigurationError(
                f"`{name}.discriminator_optimizer` must be a Keras optimizer, got "
                f"{discriminator_optimizer!r}; in a gin file write @discriminator/Adam() with parentheses"
            )
        self.discriminator_optimizer = discriminator_optimizer
        if discriminator_gradient_clip_norm is not None:
            validation.positive_number(
                f"{name}.discriminator_gradient_clip_norm", discriminator_gradient_clip_norm
            )
        self.discriminator_gradient_clip_norm = discriminator_gradient_clip_norm

    def build(self, input_shape: Shape) -> None:
        super().build(input_shape)
        build_once(self.discriminator, (None, self.num_latents))
        # Here, so that a saved model comes back with the optimizer's state.
        if not self.discriminator_optimizer.built:
            self.discriminator_optimizer.build(self.discriminator.trainable_variables)

    def parameter_groups(self) -> dict[str, ParameterGroup]:
        return {
            "discriminator": ParameterGroup(
                self.discriminator.trainable_variables,
                self.discriminator_optimizer,
                self.discriminator_gradient_clip_norm,
            )
        }
