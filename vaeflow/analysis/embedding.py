"""Encodes a split: the posterior of every example, in order, on any number of replicas."""

import dataclasses
from typing import Any

import numpy as np
import tensorflow as tf

from vaeflow import random
from vaeflow.analysis.examples import Examples
from vaeflow.models.batches import Batch
from vaeflow.models.latent_model import LatentModel
from vaeflow.models.passes import Centred, Draw, Inferred, Pass


@dataclasses.dataclass(frozen=True)
class Embedding:
    """The posteriors q(z|x) of n examples, of one group of latents.

    Attributes:
      indices: int64 `[n]`, which examples of the split.
      center: `[n, …]`, the value that stands for each posterior, such as its mean.
      latents: `[n, …]`, a sample of each posterior.
      parameters: what describes each posterior, name -> `[n, …]`; of a Gaussian `mean` and
        `log_variance`, of codes `codes`.
      kl: KL(q(z|x) ‖ p(z)) of each unit, in nats, `[n, U]`; None where it has no closed form.
      labels: int64 `[n, F]`, of a model that reads them; None of another.
    """

    indices: np.ndarray
    center: np.ndarray
    latents: np.ndarray
    parameters: dict[str, np.ndarray]
    kl: np.ndarray | None = None
    labels: np.ndarray | None = None

    def at(self, rows: np.ndarray) -> "Embedding":
        """Returns the posteriors of some of the examples, int64 `[m]`, in this order."""

        def chosen(values):
            return None if values is None else values[rows]

        fields = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return Embedding(**tf.nest.map_structure(chosen, fields))

    @property
    def is_vector(self) -> bool:
        """Whether the latents of an example are a vector of numbers, not a grid or codes."""
        return self.center.ndim == 2 and "codes" not in self.parameters

    @property
    def is_gaussian(self) -> bool:
        """Whether the latents are a vector whose posterior is a Gaussian with a diagonal covariance."""
        return self.is_vector and {"mean", "log_variance"} <= self.parameters.keys()


def embed(examples: Examples) -> dict[str, Embedding]:
    """Encodes examples; the noise of a sample depends on the example's place among them.

    Returns:
      Group of latents -> `Embedding`, in the order of the model.

    Raises:
      DataError: an example cannot be read.
    """
    model, local = examples.model, examples.on_this_machine

    def encode(stored, first_position):
        with examples.batch(stored, "embedding", first_position) as batch:
            evidence = model.infer(batch)
            drawn, centred = (draws(model, batch, evidence, kind) for kind in (Inferred, Centred))
        return {name: _of_group(draw, centred[name]) for name, draw in drawn.items()}

    encode_batch = examples.on_replicas(encode)
    encoded, labels = [], []
    for stored, _, first_position in examples.batches():
        groups = encode_batch(stored, first_position)
        encoded.append({name: tf.nest.map_structure(local, group) for name, group in groups.items()})
        if "labels" in stored:
            labels.append(local(stored["labels"]))

    def whole(*parts):  # The last batch was filled up.
        return np.concatenate(parts)[: len(examples.indices)]

    groups = tf.nest.map_structure(whole, *encoded)
    shared = {"indices": examples.indices, "labels": whole(*labels) if labels else None}
    return {name: Embedding(**shared, **group) for name, group in groups.items()}


def draws(model: LatentModel, batch: Batch, evidence: Any, kind: type[Pass]) -> dict[str, Draw]:
    """Decides the latents of examples, without decoding them.

    Args:
      model: the model.
      batch: as `Examples.batch` gives it.
      evidence: what `model.infer` returned for it.
      kind: `Inferred` for samples of q(z|x), `Centred` for its center.

    Returns:
      Group of latents -> `Draw`, in the order of the model.
    """
    one_pass = kind(labels=batch.get("labels"))
    with random.samples(1):
        model.draw_latents(one_pass, evidence)
    return one_pass.draws


def _of_group(draw: Any, centred: Any) -> dict[str, Any]:
    found = {"center": centred.value, "latents": draw.value, "parameters": draw.posterior.parameters}
    return found | ({"kl": draw.closed_kl} if draw.closed_kl is not None else {})
