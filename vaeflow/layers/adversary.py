"""The adversary of an autoencoder: a discriminator of images, its losses, and when it is trained."""

from typing import Any

import keras
import tensorflow as tf

from vaeflow import registry, validation
from vaeflow.errors import ConfigurationError
from vaeflow.layers.base import Layer, Shape, build_chain
from vaeflow.layers.patch_discriminator import PatchDiscriminator
from vaeflow.layers.terms import Term, Update
from vaeflow.optimizers import Adam, JoinedLoss, ParameterGroup

# δ of Esser et al. 2021 (arXiv:2012.09841, Eq. 7), and the largest weight of their program.
_SMALLEST_NORM = 1e-6
_LARGEST_WEIGHT = 1e4

# The names of the discriminator's parameter group, and of the loss that joins the decoder's.
DISCRIMINATOR = "discriminator"
ADVERSARIAL = "adversarial"


@registry.layer
class Adversary(Layer):
    """Trains a discriminator D to tell images x from reconstructions x̂, and the model to deceive it.

    With the hinge loss (Lim & Ye 2017, arXiv:1705.02894) D minimizes
    ½ E[relu(1 − D(x)) + relu(1 + D(x̂))], and the model −E[D(x̂)] besides its own loss; with the
    non-saturating one (Goodfellow et al. 2014, arXiv:1406.2661) ½ E[softplus(−D(x)) + softplus(D(x̂))]
    and E[softplus(−D(x̂))]. The ½ is that of the VQGAN's program. Each is the mean over the logits
    of an image. Both are updated at the same time, so D sees the reconstructions before the model's step.

    The adaptive weight (Esser et al. 2021, arXiv:2012.09841, Eq. 7) is
    `weight` · ‖∇ L_rec‖ / (‖∇ L_adv‖ + 1e-6), with the ratio clipped at 10,000. The gradients are those
    with respect to the kernel of the decoder's last layer (see `Decoder.last_kernel`), to which only the
    reconstruction and a perceptual term contribute of the model's own loss. They are summed over the global
    batch before, so the weight does not depend on replicas, parts or accumulation; it costs
    a second backward pass. The log shows it as `adversarial_weight`; it is 0 where there is no gradient.

    LeCam regularization (Tseng et al. 2021, arXiv:2104.03310, Eq. 2, 3) adds
    λ E[(D(x) − α_F)² + (D(x̂) − α_R)²] to D's loss, with moving averages α_R of D(x) and α_F of D(x̂)
    over the global batch, up to the step before.

    Args:
      discriminator: D, a layer from images `[B, H, W, C]` in [0, 1] to logits `[B, …]`, of which each
        image's depend on it alone; None for `PatchDiscriminator()`.
      loss: `"hinge"` or `"non_saturating"`.
      weight: of the model's adversarial loss.
      adaptive: whether that is multiplied by the ratio of gradients.
      first_step: the first step at which D is trained. Before it the model's adversarial loss is off too.
      every: D is trained at every so-many-th step from then on.
      lecam_weight: λ; 0 for none.
      lecam_decay: how much of the averages a step keeps.
      optimizer: a Keras optimizer for D alone, in gin `@discriminator/Adam()`; None for Adam with
        1e-4, 0.5 and 0.9.
      gradient_clip_norm: the largest global norm of D's gradient, or None.

    Raises:
      ConfigurationError: the optimizer is none.
      ValueError: a setting is out of range.
    """

    def __init__(
        self,
        discriminator: keras.layers.Layer | None = None,
        loss: str = "hinge",
        weight: float = 0.8,
        adaptive: bool = True,
        first_step: int = 0,
        every: int = 1,
        lecam_weight: float = 0.0,
        lecam_decay: float = 0.99,
        optimizer: keras.optimizers.Optimizer | None = None,
        gradient_clip_norm: float | None = None,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.loss = validation.one_of("Adversary.loss", loss, ("hinge", "non_saturating"))
        self.weight = validation.non_negative_number("Adversary.weight", weight)
        self.adaptive = validation.boolean("Adversary.adaptive", adaptive)
        self.first_step = validation.non_negative_integer("Adversary.first_step", first_step)
        self.every = validation.positive_integer("Adversary.every", every)
        self.lecam_weight = validation.non_negative_number("Adversary.lecam_weight", lecam_weight)
        self.lecam_decay = validation.fraction("Adversary.lecam_decay", lecam_decay)
        if gradient_clip_norm is not None:
            validation.positive_number("Adversary.gradient_clip_norm", gradient_clip_norm)
        self.gradient_clip_norm = gradient_clip_norm
        self.discriminator = discriminator or PatchDiscriminator(dtype=self.dtype_policy)
        self.optimizer = Adam(1e-4, beta_1=0.5, beta_2=0.9) if optimizer is None else optimizer
        if not isinstance(self.optimizer, keras.optimizers.Optimizer):
            raise ConfigurationError(
                f"`Adversary.optimizer` must be a Keras optimizer, got {optimizer!r}; in a gin file write "
                "@discriminator/Adam() with parentheses"
            )

    def build(self, input_shape: Shape) -> None:
        build_chain([self.discriminator], input_shape)
        if self.lecam_weight:
            self.real_average = self._average("real_average")
            self.fake_average = self._average("fake_average")
        # Here, so that a saved model comes back with the optimizer's state.
        if not self.optimizer.built:
            self.optimizer.build(self.discriminator.trainable_variables)

    def call(self, images: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        """Returns the logits of images, `[b, n]`, in the dtype of the variables."""
        logits = self.discriminator(images, training=training)
        return tf.cast(tf.reshape(logits, (tf.shape(logits)[0], -1)), self.variable_dtype)

    def terms(self, real: tf.Tensor, fake: tf.Tensor, step: int | tf.Tensor) -> dict[str, Term]:
        """Returns the terms of both sides, name -> `Term`.

        Args:
          real: the logits of images, `[b, n]`.
          fake: those of their reconstructions.
          step: the global step.
        """
        if self.loss == "hinge":
            mistakes, deceit = tf.nn.relu(1.0 - real) + tf.nn.relu(1.0 + fake), -fake
        else:
            mistakes, deceit = tf.nn.softplus(-real) + tf.nn.softplus(fake), tf.nn.softplus(-fake)
        started = tf.cast(tf.cast(step, tf.int64) >= self.first_step, real.dtype)
        deceit = tf.reduce_mean(deceit, axis=1)
        terms = {
            "adversarial_loss": Term(deceit, started, ADVERSARIAL)
            if self.adaptive
            else Term(deceit, self.weight * started),
            "discriminator_loss": Term(0.5 * tf.reduce_mean(mistakes, axis=1), group=DISCRIMINATOR),
        }
        if self.lecam_weight:
            distances = tf.square(real - self.fake_average) + tf.square(fake - self.real_average)
            terms["lecam"] = Term(tf.reduce_mean(distances, axis=1), self.lecam_weight, DISCRIMINATOR)
        return terms

    def updates(self, real: tf.Tensor, fake: tf.Tensor) -> dict[str, Update]:
        """Returns the updates of the averages of logits `[b, n]`, name -> `Update`."""
        if not self.lecam_weight:
            return {}
        sums = {"real": tf.reduce_sum(real), "fake": tf.reduce_sum(fake)}
        return {"lecam": Update(sums | {"count": tf.cast(tf.size(real), real.dtype)}, self._new_averages)}

    def parameter_group(self) -> ParameterGroup:
        """Returns the group of the discriminator's variables."""
        return ParameterGroup(
            self.discriminator.trainable_variables,
            self.optimizer,
            self.gradient_clip_norm,
            self.first_step,
            self.every,
        )

    def joined_loss(self, kernel: keras.Variable, variables: list[keras.Variable]) -> JoinedLoss:
        """Returns the model's adversarial loss with its adaptive weight.

        Args:
          kernel: that of the decoder's last layer.
          variables: those of the model's own group, in order.

        Raises:
          ConfigurationError: the kernel is none of them, for it is not trained.
        """
        positions = [position for position, each in enumerate(variables) if each is kernel]
        if not positions:
            raise ConfigurationError(
                "the adaptive weight compares gradients at the kernel of the decoder's last layer, "
                f"{kernel.path}, which is not trained; train it, or set `Adversary.adaptive = False`"
            )

        def weight(own, adversarial):
            norm, other = (tf.norm(gradients[positions[0]]) for gradients in (own, adversarial))
            ratio = tf.minimum(norm / (other + _SMALLEST_NORM), _LARGEST_WEIGHT)
            return self.weight * tf.where(other > 0.0, ratio, tf.zeros_like(ratio))

        return JoinedLoss(weight)

    def _new_averages(self, sums):
        def moved(average, kind):
            kept = self.lecam_decay * tf.convert_to_tensor(average)
            return average, kept + (1.0 - self.lecam_decay) * sums[kind] / sums["count"]

        return [moved(self.real_average, "real"), moved(self.fake_average, "fake")]

    def _average(self, name):
        return self.add_weight(shape=(), initializer="zeros", name=name, trainable=False, autocast=False)
