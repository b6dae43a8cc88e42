"""Checkpoints that are intact or absent, and verified before use."""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from absl import logging

from vaeflow.errors import ConfigurationError, EnvironmentFailure
from vaeflow.runs import files
from vaeflow.runs.totals import Totals

_RECORD = "record.json"
_STANDARD_METRIC = "evaluation/negative_elbo"
_NO_STEPS = Totals()


class CheckpointStore:
    """The folder of a run's checkpoints, one sub-folder each: `step-00001200/`.

    A checkpoint consists of TensorFlow's files (`variables.index`, `variables.data-…`) and a
    `record.json` with the step, the metrics, the totals of a loop that was cut short, and
    the SHA-256 of each file. It is written under another name, flushed to the disk and then
    renamed; before it is removed, it is renamed again. So under its own name it is always intact.
    Reading verifies the sums and falls back to the previous checkpoint.

    Args:
      folder: where checkpoints are kept; made when the first is saved.
      keep: how many of the newest are kept.
      best_metric: the metric, lower is better, whose best checkpoint is kept too; None for
        the one recorded with the newest checkpoint, or the negative ELBO.
      image_shape: `(H, W, C)` of the model's images, recorded with each checkpoint so that
        the model can be built without the data.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        keep: int = 3,
        best_metric: str | None = None,
        image_shape: Sequence[int] | None = None,
    ) -> None:
        self.folder = pathlib.Path(folder)
        self.image_shape = image_shape
        self._keep = keep
        self._best_metric = best_metric

    def retain(self, keep: int, best_metric: str) -> None:
        """Keeps the `keep` newest checkpoints from now on, and the best by `best_metric`."""
        self._keep, self._best_metric = keep, best_metric

    @property
    def best_metric(self) -> str:
        """The metric by which a checkpoint is the best: the lowest."""
        if self._best_metric is not None:
            return self._best_metric
        for step in reversed(self.steps()):
            with contextlib.suppress(OSError, ValueError):
                return self.record(step).get("best_metric", _STANDARD_METRIC)
        return _STANDARD_METRIC

    def save(
        self,
        checkpoint: tf.train.Checkpoint,
        step: int,
        metrics: Mapping[str, float] | None = None,
        totals: Totals = _NO_STEPS,
    ) -> pathlib.Path:
        """Writes a checkpoint of `step` and removes those no longer kept.

        Args:
          checkpoint: what to write.
          step: the number of steps trained so far.
          metrics: the last known metrics.
          totals: the `Totals` of the steps since the last log.

        Returns:
          The checkpoint's folder.

        Raises:
          EnvironmentFailure: it could not be written; nothing half-written remains.
        """
        final = self.path(step)
        if final.exists() and self.problem_with(step) is None:
            return final  # Already saved, because a signal arrived at a step that saves anyway.
        self.remove_unfinished()
        try:
            with files.staging(self.folder, final.name) as unfinished:
                checkpoint.write(str(unfinished / "variables"))
                self._write_record(unfinished, step, metrics or {}, totals)
                files.move(unfinished, final)
        except EnvironmentFailure:
            raise
        except Exception as error:  # TensorFlow raises its own, of several classes.
            raise files.failure(final, error) from error
        self._prune(step)
        return final

    def restore(self, checkpoint: tf.train.Checkpoint) -> dict[str, Any] | None:
        """Reads the newest intact checkpoint into `checkpoint`.

        Args:
          checkpoint: a `tf.train.Checkpoint` of the same variables.

        Returns:
          Its record, a dict with `step`, `metrics` and `totals`; None if there is no checkpoint.

        Raises:
          EnvironmentFailure: there are checkpoints, but none of them is intact.
          ConfigurationError: the variables are not those of the checkpoint.
        """
        steps = self.steps()
        for step in reversed(steps):
            path = self.path(step)
            problem = self.problem_with(step)
            if problem:
                logging.warning("refused the checkpoint %s: %s; trying the previous one", path, problem)
                continue
            self._read(checkpoint, path)
            return self.record(step)
        if steps:
            raise EnvironmentFailure(
                f"none of the {len(steps)} checkpoints in {self.folder} is intact; to start over, choose "
                "another `--workdir` or remove the folder"
            )
        return None

    def find(self, wanted: str | int | os.PathLike[str]) -> int:
        """Finds an intact checkpoint.

        Args:
          wanted: `"best"` (by `best_metric`; the newest if none was evaluated), `"last"`, a
            step, or the path of a checkpoint in this folder.

        Returns:
          Its step.

        Raises:
          ConfigurationError: there is no checkpoint, or not that one.
          EnvironmentFailure: it is damaged; for `"best"` and `"last"`, all are.
        """
        steps = self.steps()
        if not steps:
            raise ConfigurationError(f"there is no checkpoint in {self.folder}; train first")
        if wanted not in ("best", "last"):
            return self._find_one(wanted, steps)
        intact = []
        for step in reversed(steps):
            if problem := self.problem_with(step):
                logging.warning("refused the checkpoint %s: %s", self.path(step), problem)
            else:
                intact.append(step)
        if not intact:
            raise EnvironmentFailure(f"none of the {len(steps)} checkpoints in {self.folder} is intact")
        return (self.best_step(intact) if wanted == "best" else None) or intact[0]

    def _find_one(self, wanted: str | int | os.PathLike[str], steps: list[int]) -> int:
        path = pathlib.Path(str(wanted))
        step = path.name.removeprefix("step-")
        elsewhere = len(path.parts) > 1 and path.parent.resolve() != self.folder.resolve()
        if elsewhere or not step.isdecimal() or int(step) not in steps:
            raise ConfigurationError(
                f"there is no checkpoint {wanted} in {self.folder}; give best, last, or one of the steps "
                + ", ".join(map(str, steps))
            )
        if problem := self.problem_with(int(step)):
            raise EnvironmentFailure(f"the checkpoint {self.path(int(step))} is damaged: {problem}")
        return int(step)

    def read_weights(self, step: int) -> dict[str, list[np.ndarray]]:
        """Reads a checkpoint's weights, without its optimizer.

        Returns:
          Lists of arrays in the order of the variables: `model`, and `averages` of the
          trainable ones, which is empty if the run kept no averages.
        """
        reader = tf.train.load_checkpoint(str(self.path(step) / "variables"))
        weights: dict[str, list[np.ndarray]] = {"model": [], "averages": []}
        for name, found in weights.items():
            while reader.has_tensor(key := f"{name}/{len(found)}/.ATTRIBUTES/VARIABLE_VALUE"):
                found.append(reader.get_tensor(key))
        return weights

    def steps(self) -> list[int]:
        """Lists the steps of the checkpoints, ascending."""
        numbers = (path.name.removeprefix("step-") for path in self.folder.glob("step-*"))
        return sorted(int(number) for number in numbers if number.isdecimal())

    def record(self, step: int) -> dict[str, Any]:
        """Returns the record of the checkpoint of `step`.

        Metrics recorded as null are NaN; `totals` are `Totals`, of no steps if none were recorded.

        Raises:
          OSError: it cannot be read.
          ValueError: it is damaged, or belongs to another step.
        """
        record = json.loads((self.path(step) / _RECORD).read_text())
        parts = {"step": int, "metrics": dict, "sha256": dict}
        known = isinstance(record, dict) and all(isinstance(record.get(k), kind) for k, kind in parts.items())
        if not known:
            raise ValueError(f"it lacks one of {', '.join(parts)}")
        if record["step"] != step or not record["sha256"]:
            raise ValueError(f"it is of step {record['step']} and {len(record['sha256'])} files")
        metrics = {name: math.nan if value is None else value for name, value in record["metrics"].items()}
        return record | {"metrics": metrics, "totals": Totals.from_json(record.get("totals"))}

    def problem_with(self, step: int) -> str | None:
        """Says what is wrong with the files of a checkpoint; None if it is intact."""
        path = self.path(step)
        try:
            sums = self.record(step)["sha256"]
        except (OSError, ValueError) as error:
            return f"{_RECORD} is unreadable ({error})"
        for name, expected in sums.items():
            try:
                if _sha256(path / name) != expected:
                    return f"{name} differs from what was written"
            except OSError as error:
                return f"{name} is unreadable ({error})"
        return None

    def best_step(self, steps: Sequence[int] | None = None) -> int | None:
        """Returns the step, among `steps` or all, whose checkpoint has the lowest `best_metric`, or None."""
        scores, best_metric = {}, self.best_metric
        for step in self.steps() if steps is None else steps:
            try:
                score = self.record(step)["metrics"].get(best_metric)
            except (OSError, ValueError):
                continue
            if score is not None and math.isfinite(score):
                scores[step] = score
        return min(scores, key=scores.__getitem__) if scores else None

    def path(self, step: int) -> pathlib.Path:
        """Returns the folder of the checkpoint of `step`."""
        return self.folder / f"step-{step:08d}"

    def _write_record(
        self, folder: pathlib.Path, step: int, metrics: Mapping[str, float], totals: Totals
    ) -> None:
        sums = {path.name: _sha256(path) for path in sorted(folder.iterdir())}
        numbers = {name: value if math.isfinite(value) else None for name, value in metrics.items()}
        record = {
            "step": step,
            "image_shape": self.image_shape,
            "best_metric": self.best_metric,
            "metrics": numbers,
            "totals": totals.to_json(),
            "sha256": sums,
        }
        (folder / _RECORD).write_text(json.dumps(record, indent=1, allow_nan=False))

    def _read(self, checkpoint: tf.train.Checkpoint, path: pathlib.Path) -> None:
        try:
            checkpoint.read(str(path / "variables")).assert_consumed()
        except (AssertionError, ValueError, tf.errors.InvalidArgumentError) as error:
            reason = str(error).splitlines()[0]
            raise ConfigurationError(
                f"the checkpoint {path} belongs to another model or optimizer ({reason}); choose another "
                "`--workdir`"
            ) from error

    def _prune(self, saved: int) -> None:
        # Damaged checkpoints of later steps must not displace the one just saved.
        kept = {*self.steps()[-self._keep :], self.best_step(), saved}
        for step in self.steps():
            if step not in kept:
                files.remove_folder(self.path(step))

    def remove_unfinished(self) -> None:
        """Removes what a run left that was killed while it saved or removed a checkpoint."""
        files.remove_unfinished(self.folder)


def _sha256(path: pathlib.Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
