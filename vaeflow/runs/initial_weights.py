"""What a run took from the weights of another when it started, as each of its checkpoints records it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from vaeflow.runs import json_files


@dataclasses.dataclass(frozen=True)
class InitialWeights:
    """The weights that a run started from.

    Attributes:
      run: the name of the other run's work folder.
      step: of its checkpoint.
      weights_sha256: of all weights of the checkpoint, as its own `result.json` has it.
      averaged: whether the moving averages of the weights were taken.
      taken: the names of the weights that were taken.
      left: the names of those that were not, for this run excluded them or has none of that name.
      missing: the names of this run's weights that kept their own initial values.
    """

    run: str
    step: int
    weights_sha256: str
    averaged: bool
    taken: list[str]
    left: list[str]
    missing: list[str]

    def to_json(self) -> dict[str, Any]:
        """Returns what a record holds."""
        return dataclasses.asdict(self)


_KINDS = {
    "run": json_files.TEXT,
    "step": json_files.WHOLE,
    "weights_sha256": json_files.TEXT,
    "averaged": json_files.Kind("true or false", lambda value: isinstance(value, bool)),
    **dict.fromkeys(
        ("taken", "left", "missing"),
        json_files.Kind("a list of names", lambda value: value == [] or json_files.TEXTS.accepts(value)),
    ),
}


def _is_record(value: Any) -> bool:
    if value is None:
        return True
    if not isinstance(value, dict) or value.keys() != _KINDS.keys():
        return False
    return all(kind.accepts(value[name]) for name, kind in _KINDS.items())


# What `initial_weights` of a checkpoint's record must be.
RECORDED = json_files.Kind("what the run started from, or null", _is_record)


def from_record(record: Mapping[str, Any]) -> InitialWeights | None:
    """Returns what the record of a checkpoint says; None if the run started from no other, or is older."""
    found = record.get("initial_weights")
    return None if found is None else InitialWeights(**found)
