"""Slurm's job arrays: which part of a list of runs this task of an array has."""

import dataclasses
import re
from collections.abc import Mapping

from vaeflow.devices.slurm import shortened
from vaeflow.errors import ConfigurationError

_NAMES = ("ID", "COUNT", "MIN", "MAX", "STEP")


@dataclasses.dataclass(frozen=True)
class Part:
    """One of several parts of a list: every `count`-th element, from the one of number `index`."""

    index: int
    count: int


def find_part(environ: Mapping[str, str]) -> Part | None:
    """Reads the task of a job array that this process is.

    Args:
      environ: the environment variables.

    Returns:
      A `Part`; None outside an array.

    Raises:
      ConfigurationError: the variables are unreadable, or the indices of the array do not form a
        range, so that they do not say which part this is.
    """
    if not environ.get("SLURM_ARRAY_TASK_ID"):
        return None
    task, count, first, last, step = (_number(environ, name) for name in _NAMES)
    positions = range(first, last + 1, max(1, step))
    if len(positions) != count or task not in positions:
        raise ConfigurationError(
            f"task {task} is of a job array of {count} indices from {first} to {last}, which form no range, "
            f"so they do not say which part this is; submit a range such as --array=0-{count - 1}, as "
            "finished runs are not run again, or give --part=INDEX/COUNT"
        )
    return Part(positions.index(task), count)


def parse_part(text: str) -> Part:
    """Reads the value of `--part`, e.g. `3/30`: the fourth of thirty parts.

    Raises:
      ConfigurationError: it is something else.
    """
    match = re.fullmatch(r"([0-9]{1,9})/([0-9]{1,9})", text)
    if match is None or int(match[1]) >= int(match[2]):
        raise ConfigurationError(
            f"--part={shortened(text)} is not of the form INDEX/COUNT, with an index below the count, e.g. "
            "--part=0/30 for the first of thirty parts"
        )
    return Part(int(match[1]), int(match[2]))


def _number(environ: Mapping[str, str], name: str) -> int:
    value = environ.get(f"SLURM_ARRAY_TASK_{name}", "")
    if not re.fullmatch("[0-9]{1,9}", value):
        raise ConfigurationError(
            f"SLURM_ARRAY_TASK_ID is set, but SLURM_ARRAY_TASK_{name} is {shortened(value)!r}, which is no "
            "number; submit a job array, or say with --part=INDEX/COUNT which part this is"
        )
    return int(value)
