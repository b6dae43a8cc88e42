"""The file by which a job stays one run of a tracker, however often it is started."""

from __future__ import annotations

import hashlib
import pathlib
import re
import secrets
from typing import Any

from absl import logging

from vaeflow.runs import json_files
from vaeflow.runs.workdir import WorkDir

_NEW = "new"  # No tracker has heard of it yet.
_IDENTITY = re.compile(r"[0-9a-f]{16}")
_KINDS = {
    # Trackers take it as a part of a query, or of a path.
    "run": json_files.Kind(
        "16 hexadecimal digits",
        lambda value: json_files.TEXT.accepts(value) and bool(_IDENTITY.fullmatch(value)),
    ),
    "configuration_sha256": json_files.TEXT,
    "state": json_files.TEXT,
    "step": json_files.WHOLE,
    "picture": json_files.WHOLE,
    "checkpoint": json_files.WHOLE,
}


class Record:
    """What a tracker was told of the run in a work folder, in a file there.

    It is written before the tracker hears of it, so a kill leads to no second run and to no doubled line.

    Args:
      workdir: the `WorkDir`.
      tracker: the name of the tracker, of which the file has its name.

    Attributes:
      content: `run`, the identity of the run, 16 hexadecimal digits; `configuration_sha256`, of its text;
        `state`, `"new"` until the tracker was reached; and the last `step`, step of a `picture`, and step of
        a `checkpoint` that it was told.
    """

    def __init__(self, workdir: WorkDir, tracker: str) -> None:
        self._workdir = workdir
        self._path: pathlib.Path = workdir.path / f"{tracker}.json"
        self.content: dict[str, Any] = self._read()

    @property
    def was_reached(self) -> bool:
        """Whether the tracker has heard of the run, in this start or an earlier one."""
        return self.content.get("state", _NEW) != _NEW

    def begin(self, configuration: str, step: int) -> None:
        """Makes an identity for a run that has none.

        Before its first step is saved, a work folder is bound to no configuration: with another, the run is
        another.

        Args:
          configuration: the text of the run's `config.gin`.
          step: the step that it stands at.
        """
        sha256 = hashlib.sha256(configuration.encode()).hexdigest()
        if not self.content or (step == 0 and self.content["configuration_sha256"] != sha256):
            self.content = {"run": secrets.token_hex(8), "state": _NEW, "step": -1}
            self.content |= {"picture": -1, "checkpoint": -1}
        self.note(configuration_sha256=sha256)

    def note(self, **changes: Any) -> None:
        """Changes the content, and the file where that makes a difference."""
        if any(self.content.get(name) != value for name, value in changes.items()):
            self.content |= changes
            json_files.write(self._path, self.content, durable=False)

    def _read(self) -> dict[str, Any]:
        try:
            return json_files.read(self._path, _KINDS)
        except FileNotFoundError:
            return {}
        except (OSError, ValueError) as error:
            logging.warning("%s is left out, so its tracker gets a new run: %s", self._path, error)
            return {}
