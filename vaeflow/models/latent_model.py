"""The base of every model with latents: one pass that training and all commands share."""

from collections.abc import Mapping
from typing import Any

import tensorflow as tf

from vaeflow import random, schedules, validation
from vaeflow.distributions import ImageDistribution
from vaeflow.errors import ConfigurationError
from vaeflow.layers.terms import Term
from vaeflow.models import batches
from vaeflow.models.base import Model
from vaeflow.models.batches import Batch
from vaeflow.models.forward import Forward
from vaeflow.models.passes import Centred, Generated, Inferred, Pass


class LatentModel(Model):
    """A model p(x|z) p(z) with an approximate posterior q(z|x), in one group of latents or several.

    A family implements `build` and three methods: `infer`, what is computed from the images
    alone; `draw_latents`, in which order the latents come and from which p and q; and `likelihood_of`,
    what images they stand for. Training, evaluation, sampling, embedding and export are uses of
    these three. Without another `objective` it minimizes the negative ELBO. docs/models.md shows one with
    two groups.

    Args:
      kl_weight: the weight of the KL term, a float or a schedule of the step.
      free_bits: λ, in nats: the KL of each unit (see `Draw.kl`), averaged over the batch,
        counts as λ where it is below (Kingma et al. 2016, arXiv:1606.04934). As
        max(λ, k) = k + relu(λ − k), it is a term of its own with the weight of the KL.
      **kwargs: as for `Model`.
    """

    def __init__(self, kl_weight: validation.Weight = 1.0, free_bits: float = 0.0, **kwargs: Any):
        super().__init__(**kwargs)
        name = type(self).__name__
        self.kl_weight = validation.weight(f"{name}.kl_weight", kl_weight)
        self.free_bits = validation.non_negative_number(f"{name}.free_bits", free_bits)

    def refuse_kl_settings(self, reason: str) -> None:
        """Refuses `kl_weight` and `free_bits`, for a family whose objective has no KL term.

        Args:
          reason: why, for people.
        """
        for setting, neutral in (("kl_weight", 1.0), ("free_bits", 0.0)):
            if getattr(self, setting) != neutral:
                raise ConfigurationError(
                    f"`{type(self).__name__}.{setting}` must be left at {neutral}, got "
                    f"{getattr(self, setting)!r}: {reason}"
                )

    @property
    def num_training_samples(self) -> int:
        """K, the number of samples of the latents for each example in training."""
        return 1

    @property
    def measure(self) -> str | None:
        """What p(x|z) measures, as its block `likelihood` says (`Likelihood.measure`); None without one."""
        return getattr(getattr(self, "likelihood", None), "measure", None)

    def infer(self, batch: Batch, training: bool = False) -> Any:
        """Computes what q needs of the images: a nest of tensors `[b, …]`, computed once for all samples.

        Args:
          batch: `images` `[b, H, W, C]` in [0, 1], and what `reads` names.
          training: whether blocks behave as in training.
        """
        raise NotImplementedError(f"{type(self).__name__} must implement `infer`")

    def draw_latents(self, one_pass: Pass, evidence: Any) -> Any:
        """Asks a pass for each group of latents in turn; returns what `likelihood_of` needs of them.

        Args:
          one_pass: decides the latents; see `Pass.draw`.
          evidence: what `infer` returned, rows of it repeated for several samples; None where
            nothing is inferred, so read it in the function that makes q only.
        """
        raise NotImplementedError(f"{type(self).__name__} must implement `draw_latents`")

    def likelihood_of(self, latents: Any, one_pass: Pass) -> ImageDistribution:
        """Returns p(x|z), a distribution over `[r, H, W, C]`, of what `draw_latents` returned."""
        raise NotImplementedError(f"{type(self).__name__} must implement `likelihood_of`")

    def forward(
        self,
        batch: Any,
        step: int | tf.Tensor = schedules.END_OF_TIME,
        training: bool = False,
        num_samples: int | None = None,
    ) -> Forward:
        """Infers, draws and decodes; see `Model.forward`.

        Args:
          batch: a dict, or images alone.
          step: the global step.
          training: whether blocks behave as in training.
          num_samples: K, how many samples of the latents for each example; None for
            `num_training_samples` in training, and 1 elsewhere.
        """
        batch = self._checked(batch)
        if num_samples is None:
            num_samples = self.num_training_samples if training else 1
        rows, evidence = batches.repeated((batch, self.infer(batch, training)), num_samples)
        return self.forward_rows(rows, evidence, step, training, num_samples)

    def forward_rows(
        self,
        rows: Batch,
        evidence: Any,
        step: int | tf.Tensor = schedules.END_OF_TIME,
        training: bool = False,
        num_samples: int = 1,
    ) -> Forward:
        """Draws and decodes, where the evidence is known.

        Args:
          rows: a batch in which each example has `num_samples` consecutive rows.
          evidence: of the rows.
          step: the global step.
          training: whether blocks behave as in training.
          num_samples: K. The noise of a sample is keyed by its example's position and its number.
        """
        one_pass = Inferred(step, training, rows.get("labels"))
        with random.samples(num_samples):
            reconstruction = self._generate(one_pass, evidence)
        losses = list(self.losses)
        return Forward(rows, evidence, one_pass.draws, reconstruction, losses, training, num_samples)

    def at_center(self, forward: Forward) -> Forward:
        """Returns the pass in which all latents are the centers of their posteriors, without noise."""
        return self._centred(forward.batch, forward.evidence)

    def centred(self, inputs: Any) -> Forward:
        """Returns that pass for a batch, or for images alone."""
        batch = self._checked(inputs)
        return self._centred(batch, self.infer(batch))

    def objective(self, forward: Forward, step: int | tf.Tensor) -> dict[str, Term]:
        weight = self.kl_weight_at(step)
        terms = {"reconstruction_loss": Term(forward.reconstruction_loss), "kl": Term(forward.kl, weight)}
        if self.free_bits:
            terms["free_bits"] = Term(self._free_bits_deficit(forward), weight)
        return terms

    def selection_score(self, results: dict[str, float]) -> float:
        # The final weight of a schedule: a warm-up must not make early checkpoints look good.
        weight = float(self.kl_weight_at(schedules.END_OF_TIME))
        return results["reconstruction_loss"] + weight * results["kl"]

    def kl_weight_at(self, step: int | tf.Tensor) -> float | tf.Tensor:
        """Returns the weight of the KL term at a step, a float or scalar tensor."""
        return schedules.value_at(self.kl_weight, step)

    def mean_kl_per_unit(self, forward: Forward, group: str) -> tf.Tensor:
        """Returns the KL of each unit of a group, `[U]`, the mean over the batch in scope; see `Draw.kl`."""
        return tf.reduce_mean(self.gather(forward.kl_of(group)), axis=0)

    def encode(self, images: Any, labels: Any = None, training: bool = False) -> Any:
        """Returns q(z|x), a `Distribution` of `[b, …]`; a dict of them, group -> q, if there are several.

        Below the first, q depends on the latents drawn before, which are the centers of theirs.

        Args:
          images: `[b, H, W, C]` in [0, 1], or a batch.
          labels: integers `[b, F]`, for a model that reads them.
          training: whether blocks behave as in training.
        """
        batch = self._checked(images, labels)
        one_pass = Centred(training=training, labels=batch.get("labels"))
        self.draw_latents(one_pass, self.infer(batch, training))
        return sole_of({name: draw.posterior for name, draw in one_pass.draws.items()})

    def decode(self, latents: Any, labels: Any = None, training: bool = False) -> ImageDistribution:
        """Returns p(x|z), a distribution over `[b, H, W, C]`.

        Args:
          latents: `[b, …]`; a dict, group -> latents, if there are several groups. A group that is
            not given is drawn from p.
          labels: integers `[b, F]`, for a model that reads them.
          training: whether blocks behave as in training.

        Raises:
          ConfigurationError: the model has no such group, or is not built.
        """
        self._check_built("decode")
        batch = self._checked_labels(labels)
        given = {name: tf.convert_to_tensor(value) for name, value in self._named(latents).items()}
        for value in given.values():
            batches.check_num_labels(batch.get("labels"), value.shape[0])
        one_pass = Generated(given=given, training=training, labels=batch.get("labels"))
        latents = self.draw_latents(one_pass, None)
        one_pass.check_names(self, given)
        return self.likelihood_of(latents, one_pass)

    def sample_latents(
        self, num_samples: int | tf.Tensor, labels: Any = None, temperature: validation.Temperature = 1.0
    ) -> dict[str, tf.Tensor]:
        """Draws z ~ p(z): group -> `[n, …]`; arguments as for `sample`."""
        one_pass, _ = self._drawn(num_samples, labels, temperature)
        return {name: draw.value for name, draw in one_pass.draws.items()}

    def sample(
        self, num_samples: int | tf.Tensor, labels: Any = None, temperature: validation.Temperature = 1.0
    ) -> tf.Tensor:
        """Returns the means of p(x|z) for z ~ p(z), `[n, H, W, C]`; draws where it takes latents as x.

        Args:
          num_samples: n.
          labels: integers `[n, F]`, for a model that reads them.
          temperature: scales how far the draws of z spread, above 0; 1 for p itself. With several groups
            also a dict, group -> temperature, with 1 for groups that it does not name.

        Raises:
          ConfigurationError: the model is not built, or has no group of a temperature.
        """
        one_pass, latents = self._drawn(num_samples, labels, temperature)
        drawn: Any = self.likelihood_of(latents, one_pass)
        return drawn.mean if self.takes == "images" else drawn.draw()[0]

    def reconstruct(self, inputs: Any, num_groups: int | None = None) -> tf.Tensor:
        """Returns the means of p(x|z), `[b, H, W, C]`, of what the first groups of latents say of images.

        Args:
          inputs: a batch, or images `[b, H, W, C]` in [0, 1].
          num_groups: how many groups, 1 or more, are the centers of q(z|x); those after them are the
            centers of p given these. None for all.
        """
        batch = self._checked(inputs)
        one_pass = Centred(num_groups, labels=batch.get("labels"))
        return self._generate(one_pass, self.infer(batch)).mean

    def call(self, inputs: Any, training: bool = False) -> tf.Tensor:
        """Reconstructs: the mean of p(x|z) at the center of q(z|x); at a draw in training."""
        if not training:
            return self.reconstruct(inputs)
        batch = self._checked(inputs)
        one_pass = Inferred(training=True, labels=batch.get("labels"))
        return self._generate(one_pass, self.infer(batch, True)).mean

    def _centred(self, batch, evidence):
        one_pass = Centred(labels=batch.get("labels"))
        reconstruction = self._generate(one_pass, evidence)
        return Forward(batch, evidence, one_pass.draws, reconstruction, [])

    def _generate(self, one_pass, evidence):
        return self.likelihood_of(self.draw_latents(one_pass, evidence), one_pass)

    def _drawn(self, num_samples, labels, temperature):
        """Draws z ~ p(z): the pass, and what `draw_latents` returned."""
        self._check_built("sample")
        labels = self._checked_labels(labels).get("labels")
        batches.check_num_labels(labels, num_samples)
        temperature = validation.temperature("temperature", temperature)
        one_pass = Generated(num_samples, temperature=temperature, labels=labels)
        latents = self.draw_latents(one_pass, None)
        one_pass.check_names(self, temperature if isinstance(temperature, Mapping) else ())
        return one_pass, latents

    def _free_bits_deficit(self, forward):
        """Returns Σ relu(λ − k) over the units of all groups, a scalar."""
        deficits = [
            tf.reduce_sum(tf.nn.relu(self.free_bits - self.mean_kl_per_unit(forward, group)))
            for group in forward.draws
        ]
        return deficits[0] if len(deficits) == 1 else tf.add_n(deficits)

    def _checked(self, inputs, labels=None):
        """Returns a batch with what the model reads, and builds the model for it."""
        batch = batches.checked_for(self, batches.as_batch(inputs, labels))
        self._build_for(batch["images"])
        return batch

    def _checked_labels(self, labels):
        return batches.checked_for(self, batches.as_batch({}, labels))

    def _named(self, latents):
        return latents if isinstance(latents, Mapping) else {self.sole_group: latents}

    @property
    def sole_group(self) -> str:
        """The name of the group of a model that has one; latents that are given without a name are its."""
        return "z"

    def _check_built(self, method):
        if not self.built:
            raise ConfigurationError(
                f"`{type(self).__name__}.{method}` needs a model that knows the size of images: train it, "
                "load it, or call build((None, height, width, channels)) first"
            )


def sole_of(by_group: dict[str, Any]) -> Any:
    """Returns the value of the only group, or all of them where there are several."""
    return next(iter(by_group.values())) if len(by_group) == 1 else by_group
