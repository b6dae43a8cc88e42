"""What `encode` writes: which splits, arrays and shards, of which model and data."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from vaeflow.analysis import encoding
from vaeflow.analysis.examples import Examples
from vaeflow.datasets import pipeline
from vaeflow.datasets.base import ALL_SPLITS, SPLITS, VALIDATION
from vaeflow.datasets.checks import check_labels
from vaeflow.datasets.encoded import manifest
from vaeflow.datasets.encoded.folder import Plan
from vaeflow.errors import ConfigurationError
from vaeflow.models import frozen_blocks
from vaeflow.models.latent_model import LatentModel
from vaeflow.runs.digest import weights_sha256
from vaeflow.trained import Trained

_MOST_BYTES = 2**26
_MOST_EXAMPLES = 2**16


def check_model(model: Any) -> None:
    """Raises `ConfigurationError` unless a model has latents to encode to."""
    if not isinstance(model, LatentModel):
        raise ConfigurationError(
            f"{type(model).__name__} has no latents, so it encodes nothing; choose the work folder of a VAE "
            "or tokenizer with `--workdir`"
        )


def splits_of(dataset: Any, wanted: Sequence[str] | None) -> list[str]:
    """Returns the names of the splits to encode, all of a dataset for None, in the usual order."""
    if wanted is None:
        wanted = [*SPLITS, *([VALIDATION] if pipeline.has_validation(dataset) else [])]
    return [name for name in ALL_SPLITS if name in wanted]


def make(
    run: Trained,
    examples: Mapping[str, Examples],
    latents: str | None,
    file_format: str,
    examples_per_shard: int | None,
) -> Plan:
    """Makes the plan of an encoding; arguments as for `encode`.

    Args:
      run: the run whose model encodes.
      examples: split -> all examples of it.
      latents: as for `encode`.
      file_format: as for `encode`.
      examples_per_shard: as for `encode`.

    Raises:
      ConfigurationError: `latents` does not fit the model.
      DataError: the labels of a split are not those of the others.
    """
    first = next(iter(examples.values()))
    names, sizes = tuple(first.split.factor_names), tuple(first.split.factor_sizes)
    for each in examples.values():
        check_labels(each.split, names, sizes)
    groups = encoding.groups_of(run.model, first.blank_batch(), latents)
    has_gaussians = any("log_variance" in group.arrays for group in groups.values())
    num_bytes = sum(spec.num_bytes for spec in manifest.specs_of(groups, len(names)).values())
    most = max(1, min(_MOST_EXAMPLES, _MOST_BYTES // num_bytes))
    described = {
        "tokenizer": _tokenizer(run),
        "data": {
            "dataset": type(run.dataset).__name__,
            "binarization": first.split.binarization,
            "splits": {name: each.split.fingerprint() for name, each in examples.items()},
        },
        "labels": {"names": list(names), "sizes": list(sizes)},
        "settings": {
            "latents": latents or ("distribution" if has_gaussians else "center"),
            "seed": first.seed,
        },
    }
    counts = {name: each.split.num_examples for name, each in examples.items()}
    return Plan(file_format, examples_per_shard or 2 ** int(math.log2(most)), counts, groups, described)


def _tokenizer(run: Trained) -> dict[str, Any]:
    model = run.model
    return {
        "model": type(model).__name__,
        "checkpoint": run.checkpoint.name,
        "step": run.step,
        "weights_sha256": weights_sha256(frozen_blocks.without(model, model.weights)),
        "frozen_files": [each.sha256 for each in frozen_blocks.files(model)],
        "image_shape": list(run.image_shape),
        "precision": run.settings["precision"],
    }
