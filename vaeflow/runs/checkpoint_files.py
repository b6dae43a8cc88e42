"""The files of one checkpoint: its record, and the check that it is intact."""

from __future__ import annotations

import contextlib
import hashlib
import math
import os
import pathlib
import re
from collections.abc import Generator, Iterator, Mapping, Sequence
from typing import Any

import tensorflow as tf
from absl import logging

from vaeflow.errors import ConfigurationError
from vaeflow.runs import files, finite, frozen_files, initial_weights, json_files, metrics_log, reading
from vaeflow.runs.literal_paths import literal
from vaeflow.runs.metrics_log import LogDigest
from vaeflow.runs.totals import Totals

VARIABLES = "variables"
RECORD = "record.json"

_INDEX = f"{VARIABLES}.index"
_DATA = re.compile(rf"{VARIABLES}\.data-\d{{5}}-of-(\d{{5}})")
_MOST_NAMED = 10
_SUFFIX = "/.ATTRIBUTES/VARIABLE_VALUE"
_REQUIRED = {
    "step": json_files.WHOLE,
    "metrics": json_files.NUMBER_BY_NAME,
    "sha256": json_files.TEXT_BY_NAME,
}
# Absent from checkpoints of earlier versions.
_OPTIONAL = {
    "best_metric": json_files.TEXT,
    "frozen_files": frozen_files.RECORDED,
    "log": metrics_log.RECORDED,
    "callbacks": json_files.OBJECT_BY_NAME,
    "weights": json_files.Kind("an object of lists of names", lambda value: _are_names(value)),
    "initial_weights": initial_weights.RECORDED,
}


def _are_names(value: Any) -> bool:
    lists = value.values() if isinstance(value, dict) else [None]
    return all(isinstance(names, list) and all(isinstance(name, str) for name in names) for names in lists)


def write_record(folder: pathlib.Path, record: Mapping[str, Any]) -> None:
    """Writes the record of the checkpoint whose other files are in `folder`, with their sums."""
    sums = {path.name: _sha256(path) for path in sorted(folder.glob(f"{VARIABLES}.*"))}
    files.write_text(folder / RECORD, json_files.dumps({**record, "sha256": sums}, indent=1))


def make_way(path: pathlib.Path) -> None:
    """Gives what is no folder, but has the name of a checkpoint, another name."""
    if os.path.lexists(path) and (path.is_symlink() or not path.is_dir()):
        logging.warning("%s is no checkpoint; it has a new name now: %s", path, files.set_aside(path).name)


def read_record(folder: pathlib.Path, step: int) -> dict[str, Any]:
    """Returns a record.

    Metrics recorded as null are NaN; `totals` are `Totals`, of no steps if none were recorded; `log` is
    the `LogDigest`, or None.

    Raises:
      OSError: it cannot be read.
      ValueError: it is damaged, belongs to another step, or does not cover the variables.
    """
    record = json_files.read(folder / RECORD, _REQUIRED, _OPTIONAL)
    if record["step"] != step:
        raise ValueError(f"it is of step {record['step']}")
    image_shape = record.get("image_shape")
    if image_shape is not None and not (json_files.SIZES.accepts(image_shape) and len(image_shape) == 3):
        raise ValueError("its 'image_shape' is not height, width and channels")
    _check_coverage(set(record["sha256"]))
    metrics = {name: math.nan if value is None else value for name, value in record["metrics"].items()}
    log = LogDigest(**record["log"]) if record.get("log") else None
    return record | {"metrics": metrics, "totals": Totals.from_json(record.get("totals")), "log": log}


def problem(folder: pathlib.Path, step: int) -> str | None:
    """Says what is wrong with a checkpoint; None if it is intact.

    It is intact if its record covers the files of the variables, these are as they were written,
    TensorFlow can read them, and all that they hold is finite.
    """
    try:
        sums = read_record(folder, step)["sha256"]
    except (OSError, ValueError) as error:
        return f"{RECORD} is unreadable ({error})"
    for name, expected in sums.items():
        try:
            if _sha256(folder / name) != expected:
                return f"{name} differs from what was written"
        except OSError as error:
            return f"{name} is unreadable ({error})"
    try:
        bad = not_finite(folder)
    except Exception as error:  # TensorFlow raises its own, of several classes, and those of its parsers.
        return f"its {VARIABLES} are unreadable ({first_line(error)})"
    return bad and f"{bad} is not finite"


def not_finite(folder: pathlib.Path) -> str | None:
    """Reads all that a checkpoint holds; names the first variable that is not finite, or returns None.

    Raises:
      Exception: of several classes, if the files are damaged.
    """
    with reader(folder) as variables:
        return finite.first_not_finite(_values(variables))


@contextlib.contextmanager
def reader(folder: pathlib.Path) -> Generator[Any]:
    """Opens a checkpoint; gives TensorFlow's reader, whose methods raise errors of several classes."""
    with literal(folder) as safe:
        yield tf.train.load_checkpoint(str(safe / VARIABLES))


def restore(checkpoint: tf.train.Checkpoint, path: pathlib.Path, casts: bool = False) -> str | None:
    """Reads the files of a checkpoint into its variables.

    Args:
      checkpoint: holds the variables.
      path: the folder of the checkpoint.
      casts: whether variables of another precision are accepted.

    Returns:
      What is wrong with the files; None if all is well.

    Raises:
      ConfigurationError: it is of another model.
    """
    try:
        with reader(path) as variables:
            reason = _disagreement(checkpoint, variables.get_variable_to_shape_map())
            if reason is None and casts:
                for name, variable in variables_of(checkpoint).items():
                    variable.assign(tf.cast(variables.get_tensor(name), variable.dtype))
                return None
        if reason is None:
            with literal(path) as safe:
                checkpoint.read(str(safe / VARIABLES)).assert_consumed()
            return None
        cause = None
    except (AssertionError, ValueError, tf.errors.InvalidArgumentError) as caught:
        cause, reason = caught, first_line(caught)
    except Exception as caught:  # TensorFlow raises its own, of several classes, and those of its parsers.
        return f"its variables are unreadable ({first_line(caught)})"
    raise ConfigurationError(
        f"the checkpoint {path} belongs to another model or optimizer ({reason}); leave their settings as "
        "they were, or choose another `--workdir`"
    ) from cause


def _disagreement(checkpoint: tf.train.Checkpoint, found: Mapping[str, Sequence[int]]) -> str | None:
    """Says which variables differ from those of a checkpoint; None if names and shapes agree.

    Args:
      checkpoint: holds lists of variables.
      found: the shapes of what the checkpoint's files hold, by TensorFlow's names.
    """
    expected = {name: list(variable.shape) for name, variable in variables_of(checkpoint).items()}
    names = {name for name in found if _SUFFIX in name}
    for name in sorted(names & set(expected)):
        if list(found[name]) != expected[name]:
            return f"{name.partition('/.')[0]} has the shape {found[name]} there and {expected[name]} here"
    if names != set(expected):
        return f"it holds {len(names)} variables, the model and its optimizer have {len(expected)}"
    return None


def variables_of(checkpoint: tf.train.Checkpoint) -> dict[str, Any]:
    """Returns the variables of a checkpoint that holds lists of them, by TensorFlow's names."""
    return {
        key(f"{part}/{index}"): variable
        for part, variables in lists_of(checkpoint).items()
        for index, variable in enumerate(variables)
    }


def lists_of(checkpoint: tf.train.Checkpoint) -> dict[str, list[Any]]:
    """Returns the lists of variables that a checkpoint holds, by the names of its parts."""
    view = tf.train.TrackableView
    return {part: list(view.children(held).values()) for part, held in view.children(checkpoint).items()}


def key(name: str) -> str:
    """Returns the key of a variable in a checkpoint, e.g. of `model/3`."""
    return name + _SUFFIX


def name_of(key: str) -> str:
    """Returns the name of a variable, e.g. `model/3`, whose key in a checkpoint is given."""
    return key.removesuffix(_SUFFIX)


def some(steps: Sequence[int], near: int | None) -> str:
    """Lists at most ten steps for people: the nearest to one, or else the newest."""
    wanted = steps[-1] if near is None else near
    chosen = sorted(steps, key=lambda step: abs(step - wanted))[:_MOST_NAMED]
    more = len(steps) - len(chosen)
    return ", ".join(map(str, sorted(chosen))) + (f", and {more} more" if more else "")


def first_line(error: BaseException) -> str:
    """Returns the first line of an error's message, or the name of its class."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def _values(variables: Any) -> Iterator[tuple[str, Any]]:
    for name, dtype in sorted(variables.get_variable_to_dtype_map().items()):
        # What is no number is read too, to see that it can be.
        value = variables.get_tensor(name)
        if dtype.is_floating or dtype.is_complex:
            yield name_of(name), value


def _check_coverage(names: set[str]) -> None:
    """Refuses the sums of anything else than a whole set of TensorFlow's files."""
    data = {name: found for name in names if (found := _DATA.fullmatch(name))}
    counts = {int(found[1]) for found in data.values()}
    if names != {_INDEX, *data} or counts != {len(data)}:
        covered = ", ".join(sorted(names)[:5]) or "nothing"
        raise ValueError(f"its sums are of {covered}, where {_INDEX} and {VARIABLES}.data-… are expected")


def _sha256(path: pathlib.Path) -> str:
    with reading.opened(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
