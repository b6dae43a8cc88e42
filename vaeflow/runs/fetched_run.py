"""Fetches the copy of a run from a remote folder; see `mirrored_run`."""

from __future__ import annotations

import pathlib
import re
from collections.abc import Iterable, Sequence

from absl import logging

from vaeflow.errors import ConfigurationError, EnvironmentFailure
from vaeflow.runs import checkpoint_files, files, metrics_log
from vaeflow.runs.checkpoint_folder import CheckpointFolder
from vaeflow.runs.remote_folder import RemoteFolder
from vaeflow.runs.workdir import WorkDir

FILES = (
    *("config.gin", "operative_config.gin", "environment.json", "data.json", metrics_log.NAME),
    *("mlflow.json", "wandb.json"),  # Which run this is to a tracker.
)
FOLDERS = ("tensorboard", "images")
CHECKPOINTS = "checkpoints"
RESULT = "result.json"
# A file of a checkpoint: the folder, the step, and its own name.
CHECKPOINT_FILE = re.compile(rf"{CHECKPOINTS}/(step-([0-9]{{8,18}}))/([^/]+)")


def fetch(remote: RemoteFolder, folder: WorkDir) -> int | None:
    """Fetches the whole checkpoints of a run, its log, pictures and summaries, and its result.

    They are fetched into a folder of their own. From there the checkpoints move in one step, after
    everything that belongs to them, and the result moves last.

    Args:
      remote: the `RemoteFolder` with the copy.
      folder: the `WorkDir`, without a checkpoint.

    Returns:
      The newest step; None if no checkpoint was ever copied to its end, and nothing was fetched.

    Raises:
      ConfigurationError: the folder of checkpoints holds something else.
      EnvironmentFailure: the copy cannot be read, or none of its checkpoints is whole.
    """
    if folder.checkpoints.exists():
        files.remove_unfinished(folder.checkpoints)
        if any(folder.checkpoints.iterdir()):
            raise ConfigurationError(
                f"{folder.checkpoints} holds other files, but no checkpoint; remove them, so that the run in "
                f"{remote} can be fetched"
            )
    names = list(remote.files())
    with files.staging(folder.path, "fetched") as staged:
        (staged / CHECKPOINTS).mkdir()
        newest = _fetch_checkpoints(remote, names, staged / CHECKPOINTS)
        if newest is None:
            return None
        for name in names:
            parent, _, last = name.rpartition("/")
            if name in (*FILES, RESULT) or (parent in FOLDERS and not last.startswith(".")):
                (staged / parent).mkdir(exist_ok=True)
                remote.get(name, staged / name)
        for part in (*FILES, *FOLDERS, CHECKPOINTS, RESULT):
            if (staged / part).exists():
                files.move(staged / part, folder.path / part)
    return newest


def _fetch_checkpoints(remote: RemoteFolder, names: Sequence[str], folder: pathlib.Path) -> int | None:
    """Fetches all whole checkpoints; returns the newest step, or None if none was ever finished."""
    finished, whole = finished_steps(names), []
    matches = [match for name in names if (match := CHECKPOINT_FILE.fullmatch(name))]
    for step in sorted({int(match[2]) for match in matches}):
        place = CheckpointFolder(folder).path(step)
        place.mkdir()
        problem = "it was not copied to its end"
        if step in finished:
            for match in matches:
                if match[1] == place.name:
                    remote.get(match[0], place / match[3])
            problem = checkpoint_files.problem(place, step)
        if problem is None:
            whole.append(step)
            continue
        logging.warning("skipped %s/%s/%s: %s", remote, CHECKPOINTS, place.name, problem)
        files.remove_folder(place)
    if finished and not whole:
        raise EnvironmentFailure(
            f"none of the {len(finished)} checkpoints in {remote} is whole; to start over, choose another "
            "`--workdir`, or remove the copy"
        )
    return whole[-1] if whole else None


def finished_steps(names: Iterable[str]) -> list[int]:
    """Returns the steps whose record is among the names of files, ascending."""
    matches = map(CHECKPOINT_FILE.fullmatch, names)
    return sorted(int(match[2]) for match in matches if match and match[3] == checkpoint_files.RECORD)
