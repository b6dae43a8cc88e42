"""The figures of a model that its card shows."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

_SPLIT = "evaluation"


@dataclasses.dataclass(frozen=True)
class Measured:
    """What was measured of a model.

    Attributes:
      dataset: the class of the dataset.
      split: the split that was evaluated.
      metrics: name -> finite figure, without those of single latents.
    """

    dataset: str
    split: str
    metrics: Mapping[str, float]


def after_training(evaluation: Mapping[str, Any]) -> Measured:
    """Returns what `evaluation.json` holds."""
    return Measured(evaluation["dataset"], evaluation["split"], _figures(evaluation["metrics"]))


def in_training(dataset: str, metrics: Mapping[str, Any]) -> Measured:
    """Returns what the record of a checkpoint holds of evaluations.

    Args:
      dataset: the class of the dataset.
      metrics: those of the record.
    """
    start = f"{_SPLIT}/"
    found = {name[len(start) :]: value for name, value in metrics.items() if name.startswith(start)}
    return Measured(dataset, _SPLIT, _figures(found))


def _figures(metrics: Mapping[str, Any]) -> dict[str, float]:
    return {
        name: value
        for name, value in metrics.items()
        if value is not None
        and math.isfinite(value)
        and not name.partition("[")[0].rpartition("/")[2].isdecimal()
    }
