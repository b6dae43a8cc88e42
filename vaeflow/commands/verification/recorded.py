"""What a work folder says of its run; nothing of it is trusted yet."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from vaeflow.runs import data_record, initial_weights, json_files, metrics_log
from vaeflow.runs.checkpoints import CheckpointStore
from vaeflow.runs.json_files import Kind
from vaeflow.runs.metrics_log import Line
from vaeflow.runs.workdir import WorkDir

_ENVIRONMENT = {"packages": json_files.TEXT_OR_NULL_BY_NAME, "python": json_files.TEXT}
_OPTIONAL = {
    "git_revision": json_files.TEXT_OR_NULL,
    "platform": json_files.TEXT,
    "machine": json_files.OBJECT,
    "plugins": json_files.TEXTS_OR_NONE,
    "code_sha256": json_files.TEXT_BY_NAME,
    "resumed_at": json_files.WHOLE,
    "initial_weights": initial_weights.RECORDED,
    "placement": Kind("replicas, workers and the kind of devices", lambda value: _is_placement(value)),
}
_RESULT = {"step": json_files.WHOLE, "weights_sha256": json_files.TEXT}
_MAYBE_IN_RESULT = {"ended_by": json_files.TEXT, "restored_step": json_files.WHOLE}


def _is_placement(value: Any) -> bool:
    kinds = {"replicas": json_files.WHOLE, "workers": json_files.WHOLE, "kind": json_files.TEXT}
    return json_files.OBJECT.accepts(value) and all(
        name in value and kind.accepts(value[name]) for name, kind in kinds.items()
    )


@dataclasses.dataclass(frozen=True)
class Placement:
    """What a run was trained on.

    Attributes:
      replicas: the number of its replicas, on all workers.
      kind: `"CPU"` or `"GPU"`; None if an older version did not say.
      workers: the number of its workers.
    """

    replicas: int = 1
    kind: str | None = None
    workers: int = 1


class Recorded:
    """A work folder, read once.

    Args:
      path: the work folder.

    Attributes:
      workdir: the `WorkDir`, which writes nothing.
      store: its checkpoints.
      lines: the lines of the log.
      environment: what `environment.json` holds; empty if it cannot be read.
      data: split -> fingerprint; None if there is no record.
      result: what `result.json` holds; None if there is none.
      problems: file -> why it is not what a run writes.
      placement: the `Placement`.
      resumed_at: the step from which on `environment.json` describes the run.
    """

    def __init__(self, path: str) -> None:
        self.workdir = WorkDir(path, writable=False)
        self.store = CheckpointStore(self.workdir.checkpoints)
        self.lines: list[Line] = metrics_log.read(self.workdir.path / metrics_log.NAME)
        self.problems: dict[str, str] = {}
        self.environment = self._read("environment.json", _ENVIRONMENT, _OPTIONAL) or {}
        data = self._read(data_record.NAME, data_record.PARTS)
        self.data: dict[str, str] | None = data and data["splits"]
        self.result = self._read("result.json", _RESULT, _MAYBE_IN_RESULT)
        self.placement = self._placement()
        self.resumed_at: int = self.environment.get("resumed_at", 0)

    def line_of(self, step: int) -> Line | None:
        """Returns the line of a step, or None."""
        return next((line for line in self.lines if line.step == step), None)

    def _read(
        self, name: str, required: Mapping[str, Kind], optional: Mapping[str, Kind] | None = None
    ) -> dict[str, Any] | None:
        try:
            return json_files.read(self.workdir.path / name, required, optional)
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            self.problems[name] = str(error)
            return None

    def _placement(self) -> Placement:
        if "placement" in self.environment:
            found = self.environment["placement"]
            return Placement(max(1, found["replicas"]), found["kind"], max(1, found["workers"]))
        # As older versions wrote it.
        replicas = (self.result or {}).get("num_replicas", 1)
        return Placement(replicas if json_files.WHOLE.accepts(replicas) and replicas > 0 else 1)
