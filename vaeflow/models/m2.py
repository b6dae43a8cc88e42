"""The semi-supervised VAE of which some images have a label."""

import dataclasses
import functools
import math
from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from vaeflow import registry, schedules, validation
from vaeflow.distributions import ClassVector, ImageDistribution
from vaeflow.errors import ConfigurationError
from vaeflow.layers.base import Shape, build_chain
from vaeflow.layers.conditional_prior import with_labels
from vaeflow.layers.terms import Term, Update
from vaeflow.models import batches
from vaeflow.models.batches import Batch
from vaeflow.models.forward import Forward
from vaeflow.models.passes import Pass
from vaeflow.models.vae import VAE

# Of a class that a label rules out: its probability is 0 in every precision, and all stays finite.
_IMPOSSIBLE = -1e4


@dataclasses.dataclass(frozen=True)
class EnumeratedForward(Forward):
    """A pass with a row for each class y of each example: sample k is that of y = k.

    Attributes:
      log_q: log q(y|x), `[b, K]`.
      labels: int64 `[b]`, K where the label is not known.
    """

    log_q: Any = None
    labels: Any = None

    @property
    def is_known(self) -> tf.Tensor:
        """1 where the label is known, else 0, `[b]`."""
        return tf.cast(self.labels < self.num_samples, self.log_q.dtype)

    @functools.cached_property
    def weights(self) -> tf.Tensor:
        """What each class counts, `[b, K]`: q(y|x), or 1 at the label where it is known."""
        at_label = tf.one_hot(self.labels, self.num_samples, dtype=self.log_q.dtype)
        return at_label + (1 - self.is_known)[:, None] * tf.exp(self.log_q)

    def mean_over_classes(self, values: tf.Tensor) -> tf.Tensor:
        """Returns the sum over the classes of `[b · K, …]` times their weights, `[b, …]`."""
        values = tf.reshape(values, (-1, self.num_samples, *values.shape[1:]))
        weights = tf.reshape(self.weights, (-1, self.num_samples, *[1] * (values.shape.rank - 2)))
        return tf.reduce_sum(weights * values, axis=1)


@registry.model
class M2(VAE):
    """The semi-supervised model M2 (Kingma et al. 2014, arXiv:1406.5298, Eq. 6 to 9).

    The class y of an image x is a latent: p(y) p(z) p(x|y, z), with q(y|x) of a classifier and q(z|x, y).
    An image with a label has the bound L(x, y) = E[−log p(x|y, z)] + KL(q(z|x, y) ‖ p(z)) − log p(y)
    (Eq. 6), one without the bound Σ_y q(y|x) (L(x, y) + log q(y|x)) (Eq. 7). The
    loss is the mean of these bounds over all images (Eq. 8), plus α times the mean of −log q(y|x), which
    is 0 for an image without a label (Eq. 9). p(y) is uniform.

    The label `num_classes` stands for "not known": `Dataset.num_labelled` hides the labels of most
    training images. Outside of training a known label is a condition, as of a `ConditionalVAE`: the
    ELBO bounds log p(x|y), and `sample` makes images of it. A class that is not known is drawn from
    q(y|x), or p(y) where there is no image. `evaluate` reports the `accuracy` of q(y|x),
    `classification_loss`, and `negative_elbo_without_label`, which bounds −log p(x).

    Each training image is encoded and decoded once for each class. The classes are vectors with a 1 at
    their place: constant channels for the encoder, next to the latents for the decoder.

    Args:
      num_classes: K, how many classes there are.
      classification_weight: α, a float or a schedule. The paper has 0.1 N times the mean over those with
        a label: 0.1 divided by the share of the images that have one.
      classifier: a block from images to features `[B, F]`, of which a linear layer makes q(y|x); None
        for one like the default encoder.
      **kwargs: as for `VAE`.
    """

    reads = ("labels",)
    takes_unknown_labels = True

    def __init__(
        self,
        num_classes: int | Sequence[int],
        classification_weight: validation.Weight = 1.0,
        classifier: keras.layers.Layer | None = None,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        sizes = validation.size_or_sizes("M2.num_classes", num_classes)
        if len(sizes) != 1:
            raise ConfigurationError(
                f"`M2.num_classes` must be a number, for data with one label, got {num_classes!r}"
            )
        self.num_classes = sizes[0]
        self.label_sizes = (self.num_classes + 1,)
        self.num_encoder_conditions = self.num_decoder_conditions = self.num_classes
        self.classification_weight = validation.weight("M2.classification_weight", classification_weight)
        self.classifier = self._block("classifier", classifier, self.default_encoder)
        # In float32 under mixed precision, as the parameters of a posterior.
        self.logits = keras.layers.Dense(self.num_classes, dtype=self.variable_dtype)

    def build(self, input_shape: Shape) -> None:
        """Builds the blocks for images of `(None, H, W, C)`."""
        super().build(input_shape)
        build_chain([self.classifier, self.logits], input_shape)

    def infer(self, batch: Batch, training: bool = False) -> dict[str, tf.Tensor]:
        """Returns the images, and the logits of q(y|x), `[b, K]`."""
        self._check_images(batch["images"])
        features = self.in_parts(self.classifier, batch["images"], training=training)
        return {"images": batch["images"], "logits": self.logits(features)}

    def draw_latents(self, one_pass: Pass, evidence: Any) -> tuple[tf.Tensor, tf.Tensor]:
        labels: Any = one_pass.labels

        def of_labels(logits):
            """The class of the label where it is known, and `logits` elsewhere."""
            at_label = tf.one_hot(labels[:, 0], self.num_classes, dtype=logits.dtype)
            is_known = labels < self.num_classes
            return ClassVector(tf.where(is_known, (1 - at_label) * _IMPOSSIBLE, logits))

        def prior_of_classes():
            shape = (tf.shape(labels)[0], self.num_classes)
            return of_labels(tf.zeros(shape, self.variable_dtype))

        classes = one_pass.draw(
            "y", prior_of_classes, lambda: of_labels(evidence["logits"]), conditional=True
        )

        def posterior():
            images = evidence["images"]
            inputs = with_labels(images, tf.cast(classes, images.dtype))
            features = self.in_parts(self.encoder, inputs, training=one_pass.training)
            return self.posterior_distribution(self.posterior(features), one_pass.training_step)

        return one_pass.draw("z", self.prior_distribution, posterior), classes

    def likelihood_of(self, latents: tuple[tf.Tensor, tf.Tensor], one_pass: Pass) -> ImageDistribution:
        values, classes = latents
        return super().likelihood_of(with_labels(values, tf.cast(classes, values.dtype)), one_pass)

    def forward(
        self,
        batch: Any,
        step: int | tf.Tensor = schedules.END_OF_TIME,
        training: bool = False,
        num_samples: int | None = None,
    ) -> Forward:
        """As for `LatentModel`; in training with a row for each class, an `EnumeratedForward`."""
        if not training:
            return super().forward(batch, step, training, num_samples)
        return self._enumerated(self._checked(batch), step, training)

    def objective(self, forward: Forward, step: int | tf.Tensor) -> dict[str, Term]:
        if not isinstance(forward, EnumeratedForward):
            forward = self._enumerated(forward.batch, step, forward.training)
        weight = self.kl_weight_at(step)
        known = forward.is_known
        of_label = tf.gather(forward.log_q, tf.minimum(forward.labels, self.num_classes - 1), batch_dims=1)
        terms = self._terms(forward) | {
            "classification_loss": Term(
                -known * of_label, schedules.value_at(self.classification_weight, step)
            )
        }
        terms["kl"] = terms["kl"]._replace(weight=weight)
        if self.free_bits:  # Of z alone: each row is of one class.
            deficits = tf.nn.relu(self.free_bits - self.mean_kl_per_unit(forward, "z"))
            terms["free_bits"] = Term(tf.reduce_sum(deficits), weight)
        return terms

    def updates(self, forward: Forward, step: int | tf.Tensor) -> dict[str, Update]:
        return {}

    def mean_kl_per_unit(self, forward: Forward, group: str) -> tf.Tensor:
        if not isinstance(forward, EnumeratedForward):
            return super().mean_kl_per_unit(forward, group)
        return tf.reduce_mean(self.gather(forward.mean_over_classes(forward.draws[group].kl)), axis=0)

    def evaluated(self, forward: Forward) -> dict[str, tf.Tensor]:
        labels = forward.batch["labels"]
        unknown = {
            **forward.batch,
            "labels": tf.fill(tf.shape(labels), tf.cast(self.num_classes, labels.dtype)),
        }
        enumerated = self._enumerated(unknown, schedules.END_OF_TIME, False)
        bound = tf.add_n([term.value for term in self._terms(enumerated).values()])
        at_label = tf.one_hot(labels[:, 0], self.num_classes, dtype=enumerated.log_q.dtype)
        is_right = tf.argmax(enumerated.log_q, axis=1) == labels[:, 0]
        return {
            "accuracy": tf.cast(is_right, enumerated.log_q.dtype),
            "classification_loss": -tf.reduce_sum(at_label * enumerated.log_q, axis=1),
            "negative_elbo_without_label": bound,
        }

    def selection_score(self, results: dict[str, float]) -> float:
        return 1.0 - results["accuracy"]

    def _terms(self, forward):
        """Returns the parts of the bounds, name -> `Term` of weight 1."""
        log_q = forward.log_q
        negative_entropy = tf.reduce_sum(tf.exp(log_q) * log_q, axis=1)
        of_class = math.log(self.num_classes) + (1 - forward.is_known) * negative_entropy
        kl = tf.reduce_sum(forward.draws["z"].kl, axis=1)
        return {
            "reconstruction_loss": Term(forward.mean_over_classes(tf.reshape(-forward.log_likelihood, [-1]))),
            "kl": Term(forward.mean_over_classes(kl)),
            "kl_of_class": Term(of_class),
        }

    def _enumerated(self, batch, step, training):
        """Runs the model for every class of each example of a batch."""
        evidence = self.infer(batch, training)
        rows, repeated = batches.repeated((batch, evidence), self.num_classes)
        each = tf.range(self.num_classes, dtype=tf.int64)[None, :]
        classes = tf.reshape(tf.zeros_like(batch["labels"]) + each, (-1, 1))
        rows = {**rows, "labels": classes}
        forward = self.forward_rows(rows, repeated, step, training, self.num_classes)
        fields = {each.name: getattr(forward, each.name) for each in dataclasses.fields(Forward)}
        log_q = ClassVector(evidence["logits"]).log_probabilities
        return EnumeratedForward(**fields, log_q=log_q, labels=batch["labels"][:, 0])
