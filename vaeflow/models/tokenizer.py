"""The base of tokenizers: autoencoders of images with an adversary and a perceptual loss."""

import dataclasses
import functools
import math
from typing import Any

import tensorflow as tf

from vaeflow import schedules
from vaeflow.errors import ConfigurationError
from vaeflow.layers import Adversary, PerceptualDistance
from vaeflow.layers.adversary import ADVERSARIAL, DISCRIMINATOR
from vaeflow.layers.base import Shape, build_once
from vaeflow.layers.terms import Term, Update
from vaeflow.models.batches import Batch
from vaeflow.models.forward import Forward
from vaeflow.models.vae import VAE
from vaeflow.optimizers import JoinedLoss, ParameterGroup


@dataclasses.dataclass(frozen=True)
class JudgedForward(Forward):
    """A pass whose images and reconstructions an adversary judges, at most once.

    Attributes:
      judge: the adversary, a function from `[2 b, H, W, C]` to logits `[2 b, n]`.
    """

    judge: Any = None

    @functools.cached_property
    def logits(self) -> tuple[tf.Tensor, tf.Tensor]:
        """The logits of the images and of the reconstructions, `[b, n]` each."""
        reconstructions = tf.cast(self.reconstruction.mean, self.images.dtype)
        both = tf.concat([self.images, reconstructions], axis=0)
        # Each loss takes its gradient with respect to its own variables only, so one pass serves both.
        real, fake = tf.split(self.judge(both), 2)
        return real, fake


class Tokenizer(VAE):
    """A VAE whose reconstructions are also compared by a frozen net, and judged by a discriminator.

    Minimizes E[−log p(x|z) + w KL] + w_p d(x, x̂) + λ L_adv(x̂), with the distance d of the block
    `perceptual` and the loss and the weight λ of the block `adversary`, both optional; x̂ is the mean of
    p(x|z). The `loss` that is logged leaves out the adversarial part where its weight is adaptive.

    Evaluation reports the perceptual and adversarial losses beside the ELBO, which
    knows nothing of them. The best checkpoint is chosen without the adversarial loss: what a
    discriminator says is comparable only with what it says of other images at the same step.
    `sample`, `encode`, `decode` and the signatures of an export use neither block; checkpoints and
    `.keras` files hold the discriminator, and of a frozen net what `FrozenNet` says.

    Args:
      num_latents: D; of each place.
      adversary: an `Adversary`; None for what `default_adversary` makes.
      perceptual: a `PerceptualDistance`, or None.
      **kwargs: as for `VAE`.
    """

    def __init__(
        self,
        num_latents: int = 10,
        adversary: Adversary | None = None,
        perceptual: PerceptualDistance | None = None,
        **kwargs: Any,
    ):
        super().__init__(num_latents, **kwargs)
        self.adversary = self._optional(
            "adversary", self.default_adversary() if adversary is None else adversary, Adversary
        )
        self.perceptual = self._optional("perceptual", perceptual, PerceptualDistance)

    def default_adversary(self) -> Adversary | None:
        """Makes the adversary used when none is given; none by default."""
        return None

    def build(self, input_shape: Shape) -> None:
        super().build(input_shape)
        self.num_numbers = math.prod(input_shape[1:])  # pyright: ignore[reportArgumentType, reportCallIssue]
        for block in (self.adversary, self.perceptual):
            if block is not None:
                build_once(block, (None, *input_shape[1:]))
        self.joined_losses()  # To refuse a decoder without a last kernel here.

    def forward_rows(
        self,
        rows: Batch,
        evidence: Any,
        step: int | tf.Tensor = schedules.END_OF_TIME,
        training: bool = False,
        num_samples: int = 1,
    ) -> Forward:
        forward = super().forward_rows(rows, evidence, step, training, num_samples)
        if self.adversary is None:
            return forward
        judge = functools.partial(self.in_parts, self.adversary, training=training)
        return JudgedForward(**{each.name: getattr(forward, each.name) for each in _FIELDS}, judge=judge)

    def objective(self, forward: Forward, step: int | tf.Tensor) -> dict[str, Term]:
        terms = super().objective(forward, step)
        if self.perceptual is not None:
            weight = schedules.value_at(self.perceptual.weight, step) * self.num_numbers
            terms["perceptual_loss"] = Term(self._perceptual_loss(forward), weight)
        return terms | self._adversarial_terms(forward, step)

    def updates(self, forward: Any, step: int | tf.Tensor) -> dict[str, Update]:
        updates = super().updates(forward, step)
        return updates | ({} if self.adversary is None else self.adversary.updates(*forward.logits))

    def parameter_groups(self) -> dict[str, ParameterGroup]:
        groups = super().parameter_groups()
        return groups | ({} if self.adversary is None else {DISCRIMINATOR: self.adversary.parameter_group()})

    def joined_losses(self) -> dict[str, JoinedLoss]:
        joined = super().joined_losses()
        if self.adversary is None or not self.adversary.adaptive:
            return joined
        own = self.all_parameter_groups(None)[None].variables
        return joined | {ADVERSARIAL: self.adversary.joined_loss(self.decoder.last_kernel, own)}

    def evaluated(self, forward: Forward) -> dict[str, tf.Tensor]:
        results = super().evaluated(forward)
        if self.perceptual is not None:
            results["perceptual_loss"] = self._perceptual_loss(forward)
        terms = self._adversarial_terms(forward, schedules.END_OF_TIME)
        return results | {name: term.value for name, term in terms.items() if name.endswith("_loss")}

    def selection_score(self, results: dict[str, float]) -> float:
        score = super().selection_score(results)
        if self.perceptual is not None:
            weight = float(schedules.value_at(self.perceptual.weight, schedules.END_OF_TIME))
            score += weight * self.num_numbers * results["perceptual_loss"]
        return score

    def _perceptual_loss(self, forward):
        perceptual: Any = self.perceptual
        return perceptual.distance(forward.images, forward.reconstruction.mean)

    def _adversarial_terms(self, forward: Any, step):
        if self.adversary is None:
            return {}
        real, fake = forward.logits
        return self.adversary.terms(real, fake, step)

    def _optional(self, role, block, expected):
        if block is not None and not isinstance(block, expected):
            name = type(self).__name__
            raise ConfigurationError(
                f"`{name}.{role}` must be of the kind {expected.__name__}, got {block!r}; in a gin file "
                f"write {name}.{role} = @{expected.__name__}() with parentheses"
            )
        return block


_FIELDS = dataclasses.fields(Forward)
