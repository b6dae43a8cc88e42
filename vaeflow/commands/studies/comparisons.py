"""Compares the latents that the runs of a study give the same images; the figures join their records."""

import collections
import contextlib
import dataclasses
import math
import pathlib
import sys
import zipfile
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from vaeflow.commands.studies.outcomes import Outcome
from vaeflow.datasets import array_files
from vaeflow.datasets.array_files import readable
from vaeflow.errors import DataError, user_code
from vaeflow.metrics.disentanglement import Comparison, Latents
from vaeflow.runs import finite, json_files
from vaeflow.runs.escaping import printable

# What `vaeflow embed` writes.
_EMBEDDING = pathlib.Path("embeddings", "evaluation.npz")
_LONGEST_TEXT = 4096  # Bytes of its array.


@dataclasses.dataclass(frozen=True)
class _Embedded:
    """The latents of a run, and what images they are of."""

    latents: Latents
    indices: np.ndarray
    binarization: str

    def is_of_the_same_images(self, other: "_Embedded") -> bool:
        return self.binarization == other.binarization and np.array_equal(self.indices, other.indices)


def compare(
    comparisons: Sequence[Comparison],
    outcomes: Sequence[Outcome],
    folders: Mapping[str, pathlib.Path],
    records: pathlib.Path,
) -> list[Outcome]:
    """Compares the runs that are done and whose work folders hold latents.

    A run that has no work folder any more keeps what its record says of earlier comparisons.

    Args:
      comparisons: of `study.compare`.
      outcomes: of all runs.
      folders: name of a run -> its work folder.
      records: the folder of the records, which get the figures as `compared`: name -> float.

    Returns:
      The outcomes with their records of now, in the same order.

    Raises:
      EnvironmentFailure: a record cannot be written.
    """
    figures: dict[str, dict[str, float]] = collections.defaultdict(dict)
    for comparison in comparisons:
        groups: dict[int, list[Outcome]] = collections.defaultdict(list)
        for outcome in outcomes:
            if outcome.record is not None and (folders[outcome.run.name] / _EMBEDDING).is_file():
                groups[outcome.run.index if comparison.among == "seeds" else 0].append(outcome)
        for group in groups.values():
            for name, found in _compared(comparison, [each.run.name for each in group], folders).items():
                figures[name] |= found
    return [_with_figures(outcome, figures.get(outcome.run.name), records) for outcome in outcomes]


def _compared(
    comparison: Comparison, names: Sequence[str], folders: Mapping[str, pathlib.Path]
) -> dict[str, dict[str, float]]:
    """Compares some runs: name of a run -> name of a figure with its conditions -> value."""
    embedded: dict[str, _Embedded] = {}
    for name in names:
        try:
            one = _read(folders[name] / _EMBEDDING)
            first = next(iter(embedded.values()), one)
            if not one.is_of_the_same_images(first):
                raise DataError(f"{folders[name] / _EMBEDDING} is of other images than those of {names[0]}")
        except DataError as error:
            _say_left_out(comparison, f"{name}: {error}")
        else:
            embedded[name] = one
    if len(embedded) < 2:
        if names:
            _say_left_out(comparison, f"{names[0]}: there is no other run to compare it with")
        return {}
    measured = _measured(comparison, [each.latents for each in embedded.values()])
    first = next(iter(embedded.values()))
    conditions = [
        first.binarization,
        comparison.among,
        f"runs={len(embedded)}",
        f"n={len(first.indices)}",
        *comparison.conditions(),
    ]
    return {
        name: {f"{key}[{','.join(conditions)}]": float(value) for key, value in found.items()}
        for name, found in zip(embedded, measured, strict=True)
    }


def _read(path: pathlib.Path) -> _Embedded:
    """Reads what `vaeflow embed` wrote.

    Raises:
      DataError: the file is damaged or not finite, or the latents are not a vector with a KL for each of
        them.
    """
    with readable(path), array_files.opened_archive(path) as archive:
        names = {name.removesuffix(".npy") for name in archive.namelist()}
        center = "mean" if "mean" in names else "center"
        codes, kl = (_numbers(archive, path, name) if name in names else None for name in (center, "kl"))
        if codes is None or kl is None or codes.ndim != 2 or kl.shape != codes.shape:
            raise DataError(
                f"{path} does not hold one vector of latents with a KL for each of them; the posterior of "
                "the model needs a KL in closed form, and `embed` of this version writes it"
            )
        indices = _numbers(archive, path, "indices")
        if not len(codes) or indices.shape != codes.shape[:1]:
            raise ValueError(f"it has {len(codes)} latents and indices of the shape {indices.shape}")
        if (name := finite.first_not_finite([(center, codes), ("kl", kl)])) is not None:
            raise ValueError(f"the array {name!r} is not finite")
        binarization = _text(archive, "binarization")
    latents = Latents(codes.astype(np.float64), kl.mean(axis=0, dtype=np.float64))
    return _Embedded(latents, indices, binarization)


def _numbers(archive: zipfile.ZipFile, path: pathlib.Path, name: str) -> np.ndarray:
    """Reads an array of real numbers, which has at least one axis."""
    with contextlib.ExitStack() as stack:
        stored = array_files.archive_member(stack, archive, path, name)
        if stored.dtype.kind not in "iuf":
            raise ValueError(f"the array {name!r} holds {stored.dtype} and no numbers")
        array_files.check_memory(math.prod(stored.shape) * np.dtype(np.float64).itemsize, stored.place)
        return stored.read_rows(stored.shape[0])


def _text(archive: zipfile.ZipFile, name: str) -> str:
    """Reads a short text."""
    member = archive.getinfo(f"{name}.npy")
    if member.file_size > _LONGEST_TEXT:
        raise ValueError(f"the array {name!r} is no short text")
    with archive.open(member) as stream:
        found = np.lib.format.read_array(stream, allow_pickle=False)
    if found.shape or found.dtype.kind != "U":
        raise ValueError(f"the array {name!r} is no text")
    return str(found)


def _measured(comparison: Comparison, runs: Sequence[Latents]) -> list[dict[str, float]]:
    """Returns what a comparison gives, a dict of floats for each run."""
    with user_code.running(comparison, "compare"):
        measured: Any = comparison.compare(runs)
    is_right = isinstance(measured, (list, tuple)) and len(measured) == len(runs)
    if not is_right or not all(
        isinstance(found, Mapping) and all(isinstance(value, (float, int)) for value in found.values())
        for found in measured
    ):
        problem = f"must return a dict, name -> float, for each of {len(runs)} runs, it returned {measured!r}"
        raise user_code.wrong(comparison, "compare", problem)
    return list(measured)


def _with_figures(outcome: Outcome, figures: dict[str, float] | None, records: pathlib.Path) -> Outcome:
    """Adds figures to the record of a run, in place of those of before."""
    if figures is None or outcome.record is None or outcome.record.get("compared") == figures:
        return outcome
    record = outcome.record | {"compared": figures}
    path = records / f"{outcome.run.name}.json"
    if path.exists():  # An older record of the run may have another name, and is left as it is.
        json_files.write(path, record, ascii_only=False)
    return dataclasses.replace(outcome, record=record)


def _say_left_out(comparison: Comparison, reason: str) -> None:
    print(printable(f"left out of {type(comparison).__name__}: {reason}"), file=sys.stderr)
