"""The conditional VAE: images given labels."""

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from vaeflow import registry, validation
from vaeflow.errors import ConfigurationError, user_code
from vaeflow.layers import ConditionalGaussianPrior, ConditionalPrior, Prior, StandardNormalPrior
from vaeflow.layers.base import Shape
from vaeflow.layers.conditional_prior import one_hot, with_labels
from vaeflow.models.batches import Batch
from vaeflow.models.passes import Pass
from vaeflow.models.vae import VAE

ROLES = ("encoder", "decoder", "prior")


@registry.model
class ConditionalVAE(VAE):
    """A VAE of images x given their labels y.

    Minimizes E[−log p(x|z, y) + KL(q(z|x, y) ‖ p(z|y))], the negative of the bound on log p(x|y) of
    Sohn et al. 2015 (NeurIPS, Eq. 4; with one sample, Eq. 5), where the labels are what the images
    are conditioned on. With the labels in encoder and decoder it is the part of Kingma et al.'s M2
    for labelled images (2014, arXiv:1406.5298, Eq. 6), without its classifier and log p(y).

    The labels are vectors with a 1 at the value of each (one-hot). The encoder sees
    them as constant channels of the image; the decoder next to the latents.

    Args:
      num_classes: how many values the label has; a list with a number for each factor of data
        with several.
      condition: what sees the labels, of `"encoder"`, `"decoder"` and `"prior"`. Without
        `"prior"`, p(z|y) = p(z).
      **kwargs: as for `VAE`. With `"prior"`, `prior` must be a `ConditionalPrior`; None for
        `ConditionalGaussianPrior()`.

    Raises:
      ConfigurationError: the prior does not fit `condition`.
      ValueError: another setting is out of range.
    """

    reads = ("labels",)

    def __init__(
        self,
        num_classes: int | Sequence[int],
        condition: Sequence[str] = ("encoder", "decoder"),
        **kwargs: Any,
    ):
        # Before the blocks are made: which prior is the default depends on it.
        self.label_sizes = validation.size_or_sizes(f"{type(self).__name__}.num_classes", num_classes)
        self.condition = _checked_roles(f"{type(self).__name__}.condition", condition)
        super().__init__(**kwargs)
        self._check_prior()
        num_conditions = sum(self.label_sizes)
        self.num_encoder_conditions = num_conditions if "encoder" in self.condition else 0
        self.num_decoder_conditions = num_conditions if "decoder" in self.condition else 0

    def default_prior(self) -> Prior:
        if "prior" in self.condition:
            return ConditionalGaussianPrior(dtype=self.variable_dtype)
        return StandardNormalPrior()

    def build(self, input_shape: Shape) -> None:
        """Builds the blocks for images of `(None, H, W, C)`."""
        if isinstance(self.prior, ConditionalPrior):
            self.prior.label_sizes = self.label_sizes
        super().build(input_shape)

    def draw_latents(self, one_pass: Pass, evidence: Any) -> tf.Tensor:
        if "prior" not in self.condition:
            return super().draw_latents(one_pass, evidence)

        def prior():
            block: Any = self.prior
            with user_code.running(block, "distribution"):
                return block.distribution(self, one_pass.labels)

        return one_pass.draw(
            "z",
            prior,
            lambda: self.posterior_distribution(evidence, one_pass.training_step),
            conditional=True,
        )

    def encoder_inputs(self, batch: Batch) -> tf.Tensor:
        return self._with_labels("encoder", batch["images"], batch["labels"])

    def decoder_inputs(self, latents: tf.Tensor, one_pass: Pass) -> tf.Tensor:
        return self._with_labels("decoder", latents, one_pass.labels)

    def _with_labels(self, role, values, labels):
        """Adds the labels as constant channels to `[r, …, C]`, if what takes these sees the labels."""
        if role not in self.condition:
            return values
        return with_labels(values, one_hot(labels, self.label_sizes, values.dtype))

    def _check_prior(self):
        own, given = type(self).__name__, type(self.prior).__name__
        is_conditional = isinstance(self.prior, ConditionalPrior)
        if is_conditional and "prior" not in self.condition:
            raise ConfigurationError(
                f"`{own}.prior` is a {given}, which sees the labels, and `{own}.condition` is "
                f"{self.condition}; add 'prior' to it, or choose another prior"
            )
        if not is_conditional and "prior" in self.condition:
            raise ConfigurationError(
                f"`{own}.prior` must see the labels, as `{own}.condition` names 'prior', got {given}; set it "
                "to @ConditionalGaussianPrior(), or leave 'prior' out of the condition"
            )


def _checked_roles(name, condition):
    """Returns the names in `condition`, each once, in the order of `ROLES`."""
    if isinstance(condition, str) or not isinstance(condition, (list, tuple)) or not condition:
        raise ValueError(
            f"`{name}` must be a list of one or more of {', '.join(map(repr, ROLES))}, got {condition!r}"
        )
    for role in condition:
        validation.one_of(name, role, ROLES)
    return tuple(role for role in ROLES if role in condition)
