"""Encodes a split for training on its codes or latents: shard by shard, on any number of replicas."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from vaeflow.analysis.embedding import draws
from vaeflow.analysis.examples import Examples
from vaeflow.datasets.encoded.manifest import Group, array_name
from vaeflow.distributions import Gaussian, is_discrete
from vaeflow.errors import ConfigurationError, TrainingDiverged
from vaeflow.models.latent_model import LatentModel
from vaeflow.models.passes import Centred, Draw, Inferred
from vaeflow.runs.finite import first_not_finite

# What may be stored of a posterior that is not one over codes.
LATENTS = ("distribution", "center", "sample")

_DTYPES = {"codes": "int32", "latents": "float32"}


def groups_of(model: LatentModel, batch: dict[str, tf.Tensor], latents: str | None) -> dict[str, Group]:
    """Describes what is stored of each group of latents of a model.

    Args:
      model: a built model.
      batch: any batch, such as `Examples.blank_batch()`.
      latents: one of `LATENTS`; None stores the distribution of a Gaussian, and the center of others.

    Raises:
      ConfigurationError: a posterior is no Gaussian, of which the distribution is asked for.
    """
    decided = draws(model, batch, model.infer(batch), Centred)
    return {name: _group(name, draw, latents) for name, draw in decided.items()}


def _group(name: str, draw: Draw, latents: str | None) -> Group:
    posterior = draw.posterior
    shape: Any = tuple(draw.value.shape[1:])
    if is_discrete(posterior):
        return Group(
            "codes", {"codes": tuple(posterior.codes.shape.as_list()[1:])}, tuple(posterior.code_sizes)
        )
    is_gaussian = isinstance(posterior, Gaussian)
    if latents == "distribution" and not is_gaussian:
        raise ConfigurationError(
            f"`encode.latents` must be 'center' or 'sample' for the latents {name!r}, whose posterior is a "
            f"{type(posterior).__name__} and not a Gaussian; got 'distribution'"
        )
    if is_gaussian and latents in (None, "distribution"):
        return Group("latents", {"mean": shape, "log_variance": shape})
    return Group("latents", {"latents": shape})


def encode_parts(
    examples: Examples, parts: Sequence[range], groups: dict[str, Group], latents: str | None
) -> Iterator[dict[str, np.ndarray]]:
    """Encodes the examples of some parts; what comes out of one does not depend on the others.

    Args:
      examples: all examples of a split. A sample is keyed by the number of its example.
      parts: ranges of their numbers.
      groups: what `groups_of` returned for the model.
      latents: as for `groups_of`.

    Yields:
      The arrays of each part in turn, name -> `[n, …]`, as `manifest.specs_of` names them.

    Raises:
      DataError: an example cannot be read.
      TrainingDiverged: a latent is not finite.
    """
    model, names = examples.model, examples.split.factor_names

    def encode(stored, first_position):
        with examples.batch(stored, "encoding", first_position) as batch:
            kind = Inferred if latents == "sample" else Centred
            decided = draws(model, batch, model.infer(batch), kind)
        return {
            array_name(group, role, groups): tf.cast(_stored(decided[group], role), _DTYPES[of_group.content])
            for group, of_group in groups.items()
            for role in of_group.arrays
        }

    encode_batch = examples.on_replicas(encode)
    batches = iter(examples.batches(parts))
    for part in parts:
        found: list[dict[str, np.ndarray]] = []
        for _ in part[:: examples.batch_size]:
            stored, _, first_position = next(batches)
            encoded: Any = encode_batch(stored, first_position)
            found.append({name: examples.on_this_machine(value) for name, value in encoded.items()})
        arrays = {name: np.concatenate([each[name] for each in found])[: len(part)] for name in found[0]}
        if bad := first_not_finite(arrays.items()):
            raise TrainingDiverged(
                f"the model gives {bad} that are not finite for the images from {part.start} to "
                f"{part.stop - 1}; they are not written. Choose another checkpoint with `--checkpoint`"
            )
        indices = np.asarray(part)
        labels: Any = {"labels": examples.split.factors(indices)} if names else {}
        yield {"index": indices, **labels, **arrays}


def _stored(draw: Draw, role: str) -> tf.Tensor:
    """Returns what is stored of a group: a parameter of its posterior, or the latents themselves."""
    return draw.value if role == "latents" else draw.posterior.parameters[role]
