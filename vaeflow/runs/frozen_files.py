"""The files of frozen weights, which checkpoints name instead of holding them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from vaeflow.errors import ConfigurationError
from vaeflow.runs import json_files


class FrozenFile(NamedTuple):
    """A file whose weights a model holds, and never trains.

    Attributes:
      file: its name, without the folder.
      sha256: of its content.
    """

    file: str
    sha256: str


def _is_record(value: Any) -> bool:
    return isinstance(value, list) and all(
        json_files.TEXT_BY_NAME.accepts(each) and each.keys() == set(FrozenFile._fields) for each in value
    )


# What `frozen_files` of a checkpoint's record must be.
RECORDED = json_files.Kind("a list of files with their SHA-256", _is_record)


def to_json(present: Sequence[FrozenFile]) -> list[dict[str, str]]:
    """Returns what a record holds of them."""
    return [each._asdict() for each in present]


def check(checkpoint: Path, record: dict[str, Any], present: Sequence[FrozenFile]) -> None:
    """Compares the files of a model with those that a checkpoint was trained with.

    Args:
      checkpoint: its folder, for the message.
      record: its record. One of an older version names none.
      present: the files that the model has read, in the order of its blocks.

    Raises:
      ConfigurationError: they are others.
    """
    known = [FrozenFile(**each) for each in record.get("frozen_files", [])]
    if [each.sha256 for each in known] != [each.sha256 for each in present]:
        raise ConfigurationError(
            f"the checkpoint {checkpoint} was trained with {_described(known)}, and the model has "
            f"{_described(present)} now; put back what it was trained with, or choose another `--workdir`"
        )


def _described(found: Sequence[FrozenFile]) -> str:
    return ", ".join(f"{each.file} (SHA-256 {each.sha256})" for each in found) or "no frozen block"
