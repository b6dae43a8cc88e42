"""The VAE-GAN, which compares images by the features of its own discriminator."""

from typing import Any

import tensorflow as tf

from vaeflow import registry, schedules, validation
from vaeflow.errors import ConfigurationError
from vaeflow.layers import Adversary, FeatureDiscriminator
from vaeflow.layers.adversary import DISCRIMINATOR
from vaeflow.layers.base import Shape, build_once
from vaeflow.layers.terms import Term, Update
from vaeflow.models.forward import Forward
from vaeflow.models.passes import Generated
from vaeflow.models.vae import VAE
from vaeflow.optimizers import ParameterGroup

_DECODER = "decoder"


@registry.model
class VAEGAN(VAE):
    """The VAE-GAN (Larsen et al. 2016, arXiv:1512.09300, Alg. 1).

    Images are compared by the features D_l of a discriminator: L_llike = E[−log N(D_l(x) | D_l(x̂), I)] but
    for its constant, with x̂ the mean of p(x|z). Three groups of variables have a loss each: the encoder
    (with the posterior and a trained prior) minimizes w KL + L_llike, the decoder
    γ L_llike − E[½ log D(x̂) + ½ log D(x_p)], where x_p is the mean of p(x|z_p) for z_p ~ p(z), one for each
    image, and the discriminator −½ E[log D(x) + ½ log(1 − D(x̂)) + ½ log(1 − D(x_p))].

    Deviations: the decoder's adversarial loss is the one that does not saturate (Goodfellow et al. 2014);
    the images it makes count as much together as the real ones do, as in the authors' code, where Alg. 1
    adds all three; and all are updated at the same time.

    The ELBO that an evaluation reports is that of p(x|z), which is not trained on; only its mean is. The best
    checkpoint is chosen by it.

    Args:
      feature_weight: γ, a float or a schedule. The authors' code has 1e-2 / 0.99.
      adversary: an `Adversary` with a `FeatureDiscriminator`, a loss that is not adaptive, and its weight, of
        the decoder's adversarial loss; None for one with the loss `"non_saturating"` and the weight 1.
      **kwargs: as for `VAE`.

    Raises:
      ConfigurationError: the adversary does not fit.
    """

    def __init__(
        self, feature_weight: validation.Weight = 1e-2, adversary: Adversary | None = None, **kwargs: Any
    ):
        super().__init__(**kwargs)
        self.feature_weight = validation.weight("VAEGAN.feature_weight", feature_weight)
        self.adversary = self.default_adversary() if adversary is None else adversary
        _check_adversary(self.adversary)

    def default_adversary(self) -> Adversary:
        """Makes the adversary used when none is given."""
        discriminator = FeatureDiscriminator(dtype=self.dtype_policy)
        return Adversary(
            discriminator, loss="non_saturating", weight=1.0, adaptive=False, dtype=self.dtype_policy
        )

    def build(self, input_shape: Shape) -> None:
        super().build(input_shape)
        build_once(self.adversary, (None, *input_shape[1:]))

    def parameter_groups(self) -> dict[str, ParameterGroup]:
        decoder = [*self.decoder.trainable_variables, *self.likelihood.trainable_variables]
        return {_DECODER: ParameterGroup(decoder), DISCRIMINATOR: self.adversary.parameter_group()}

    def objective(self, forward: Forward, step: int | tf.Tensor) -> dict[str, Term]:
        weight = self.kl_weight_at(step)
        likeness, real, fake = self._judged(forward, step)
        terms = {
            "kl": Term(forward.kl, weight),
            "feature_loss": Term(likeness),
            "feature_loss_of_decoder": Term(
                likeness, schedules.value_at(self.feature_weight, step), _DECODER
            ),
        }
        if self.free_bits:
            terms["free_bits"] = Term(self._free_bits_deficit(forward), weight)
        for name, term in self.adversary.terms(real, fake, step).items():
            terms[name] = term._replace(group=_DECODER) if term.group is None else term
        return terms | self.posterior.terms(forward.draw, step)

    def _judged(self, forward, step):
        """Returns L_llike `[b]`, and the logits of x, and of x̂ and x_p, `[b, 2]` each."""
        discriminator: Any = self.adversary.discriminator
        training, count = forward.training, forward.num_examples
        one_pass = Generated(count, step=step, training=training)
        sampled = self.likelihood_of(self.draw_latents(one_pass, None), one_pass).mean
        made = [tf.cast(each, forward.images.dtype) for each in (forward.reconstruction.mean, sampled)]
        images = tf.concat([forward.images, *made], axis=0)
        # Each loss takes its gradient with respect to its own variables only, so one pass serves all.
        features = discriminator.features(images, training)
        logits = tf.cast(discriminator.logits(features, training), self.variable_dtype)
        real, reconstructed, from_prior = tf.split(logits, 3)
        wanted, found, _ = tf.split(tf.cast(features, self.variable_dtype), 3)
        axes = list(range(1, features.shape.rank))
        likeness = 0.5 * tf.reduce_sum(tf.math.squared_difference(wanted, found), axis=axes)
        fake = tf.concat([reconstructed, from_prior], axis=1)
        return likeness, tf.concat([real, real], axis=1), fake

    def updates(self, forward: Forward, step: int | tf.Tensor) -> dict[str, Update]:
        return self.posterior.updates(forward.draw, step)


def _check_adversary(adversary):
    if not isinstance(adversary, Adversary):
        raise ConfigurationError(
            f"`VAEGAN.adversary` must be of the kind Adversary, got {adversary!r}; in a gin file write "
            "VAEGAN.adversary = @Adversary() with parentheses"
        )
    if not hasattr(adversary.discriminator, "features"):
        raise ConfigurationError(
            "VAEGAN compares features of its discriminator, and `Adversary.discriminator` is a "
            f"{type(adversary.discriminator).__name__}, which shows none; set it to @FeatureDiscriminator()"
        )
    for setting, wanted in (("adaptive", False), ("lecam_weight", 0.0)):
        if getattr(adversary, setting) != wanted:
            raise ConfigurationError(
                f"`Adversary.{setting}` must be {wanted} for a VAEGAN, got {getattr(adversary, setting)}: "
                "its decoder has a loss of its own"
            )
