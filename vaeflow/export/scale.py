"""The scale of a model's latents for its card, as an encoding of its data set has measured it."""

from __future__ import annotations

import pathlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from vaeflow.datasets.base import SPLITS
from vaeflow.datasets.encoded import manifest
from vaeflow.errors import ConfigurationError
from vaeflow.models import frozen_blocks
from vaeflow.runs.digest import weights_sha256
from vaeflow.runs.escaping import markdown

if TYPE_CHECKING:
    from vaeflow.datasets.encoded.manifest import Manifest
    from vaeflow.trained import Trained

_MOST_CHANNELS = 64  # In a row of the card.
_NOT_MEASURED = "not measured; `vaeflow encode` does it, and a new export takes it from there"


def encoding_of(run: Trained, folder: str | None) -> Manifest | None:
    """Reads the manifest of an encoding by the model of a run.

    Args:
      run: the run.
      folder: what `vaeflow encode` wrote; None for its usual place in the work folder, where an encoding
        by other weights counts as none.

    Raises:
      ConfigurationError: the folder was encoded by other weights.
      DataError: its manifest is missing or damaged.
    """
    place = run.workdir.place("encoded") if folder is None else pathlib.Path(folder)
    if folder is None and not (place / manifest.NAME).is_file():
        return None
    found = manifest.read(place)
    own = weights_sha256(frozen_blocks.without(run.model, run.model.weights))
    if found.tokenizer["weights_sha256"] == own:
        return found
    if folder is None:
        return None
    raise ConfigurationError(
        f"{place} was encoded by other weights (step {found.tokenizer['step']} of a "
        f"{found.tokenizer['model']}, SHA-256 {found.tokenizer['weights_sha256'][:16]}…) than those of "
        f"{run.checkpoint} ({own[:16]}…); encode the data with this checkpoint, or leave out `--encoded`"
    )


def latent_rows(encoding: Manifest | None) -> dict[str, Any]:
    """Returns rows of the card: mean, standard deviation and scale of each group of latents.

    Args:
      encoding: the manifest of an encoding by the model; None if there is none.
    """
    statistics = {} if encoding is None else encoding.statistics.get(SPLITS[0], {})
    if encoding is not None and all(group.content == "codes" for group in encoding.groups.values()):
        return {}
    if encoding is None or not statistics:
        return {"scale of the latents": _NOT_MEASURED}
    count = sum(shard.num_examples for shard in encoding.shards[SPLITS[0]])
    rows = {}
    for group, parts in statistics.items():
        of_all, channels = parts["all"], parts["channels"]
        label = "the latents" if len(statistics) == 1 else f"the latents {markdown(group)}"
        rows[f"mean of {label}"] = f"{of_all['mean'][0]:.6g} over {count:,} training images"
        rows[f"standard deviation of {label}"] = _with_samples(of_all, lambda deviation: deviation)
        rows[f"scale of {label}"] = f"1 / standard deviation = {_with_samples(of_all, np.reciprocal)}"
        if len(channels["mean"]) <= _MOST_CHANNELS:
            rows[f"mean of each channel of {label}"] = _listed(channels["mean"])
            rows[f"standard deviation of each channel of {label}"] = _listed(channels["deviation"])
    return rows


def _with_samples(statistics: dict[str, np.ndarray], function: Callable[[Any], Any]) -> str:
    """Shows a function of the deviation, and of that of samples from Gaussians."""
    shown = f"{function(statistics['deviation'][0]):.6g}"
    if "sample_deviation" in statistics:
        shown += f", of samples from q(z\\|x) {function(statistics['sample_deviation'][0]):.6g}"
    return shown


def _listed(numbers: Any) -> str:
    return ", ".join(f"{number:.4g}" for number in numbers)
