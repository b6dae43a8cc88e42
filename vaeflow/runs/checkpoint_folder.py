"""The checkpoints of a run as they lie on the disk: which there are, which is the best, what they hold."""

from __future__ import annotations

import contextlib
import math
import os
import pathlib
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from absl import logging

from vaeflow.errors import ConfigurationError, EnvironmentFailure
from vaeflow.runs import checkpoint_files, frozen_files
from vaeflow.runs.frozen_files import FrozenFile

_STANDARD_METRIC = "evaluation/negative_elbo"
_NAME = re.compile(r"step-([0-9]{8,18})")


class CheckpointFolder:
    """The folder of a run's checkpoints, one sub-folder each: `step-00001200/`.

    A checkpoint consists of TensorFlow's files (`variables.index`, `variables.data-…`) and a
    `record.json` with the step, the metrics, the totals of a loop that was cut short, the digest of
    the log so far, the names of the weights, and the SHA-256 of each file. Under its own name it is always
    intact, unless something damages it later. Reading verifies it and falls back to the previous
    checkpoint. Anything else in the folder, such as a copy that somebody made, is left alone.

    Args:
      folder: where the checkpoints are.
      best_metric: the metric, lower is better, by which one is the best; None for the one recorded with
        the newest checkpoint, or the negative ELBO.
      frozen_files: the files of the model's frozen blocks, recorded with each checkpoint in place
        of their weights.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        best_metric: str | None = None,
        frozen_files: Sequence[FrozenFile] = (),
    ) -> None:
        self.folder = pathlib.Path(folder)
        self.frozen_files = frozen_files
        self._best_metric = best_metric

    @property
    def best_metric(self) -> str:
        """The metric by which a checkpoint is the best: the lowest."""
        if self._best_metric is not None:
            return self._best_metric
        for step in reversed(self.steps()):
            with contextlib.suppress(OSError, ValueError):
                return self.record(step).get("best_metric", _STANDARD_METRIC)
        return _STANDARD_METRIC

    def restore(self, checkpoint: tf.train.Checkpoint) -> dict[str, Any] | None:
        """Reads the newest intact checkpoint into `checkpoint`.

        Args:
          checkpoint: a `tf.train.Checkpoint` of the same variables.

        Returns:
          Its record, a dict with `step`, `metrics` and `totals`; None if there is no checkpoint.

        Raises:
          EnvironmentFailure: there are checkpoints, but none of them is intact.
          ConfigurationError: the variables or the frozen blocks are not those of the checkpoint.
        """
        steps = self.steps()
        for step in reversed(steps):
            path = self.path(step)
            problem = self.problem_with(step)
            if problem is None:
                record = self.record(step)
                frozen_files.check(path, record, self.frozen_files)
                problem = checkpoint_files.restore(checkpoint, path)
            if problem is None:
                return record
            logging.warning("refused the checkpoint %s: %s; trying the previous one", path, problem)
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
        for step in self._by_preference(steps) if wanted == "best" else reversed(steps):
            problem = self.problem_with(step)
            if problem is None:
                return step
            logging.warning("refused the checkpoint %s: %s", self.path(step), problem)
        raise EnvironmentFailure(f"none of the {len(steps)} checkpoints in {self.folder} is intact")

    def _find_one(self, wanted: str | int | os.PathLike[str], steps: list[int]) -> int:
        path = pathlib.Path(str(wanted))
        digits = path.name.removeprefix("step-")
        step = int(digits) if re.fullmatch("[0-9]{1,18}", digits) else None
        elsewhere = len(path.parts) > 1 and path.parent.resolve() != self.folder.resolve()
        if elsewhere or step not in steps:
            raise ConfigurationError(
                f"there is no checkpoint {wanted} in {self.folder}; give best, last, or one of the steps "
                + checkpoint_files.some(steps, step)
            )
        if problem := self.problem_with(step):
            raise EnvironmentFailure(f"the checkpoint {self.path(step)} is damaged: {problem}")
        return step

    def read_weights(self, step: int) -> dict[str, list[np.ndarray]]:
        """Reads a checkpoint's weights, without its optimizer.

        Returns:
          Lists of arrays in the order of the variables: `model`, and `averages` of the
          averaged ones, which is empty if the run kept no averages.
        """
        weights: dict[str, list[np.ndarray]] = {"model": [], "averages": []}
        with checkpoint_files.reader(self.path(step)) as reader:
            for name, found in weights.items():
                while reader.has_tensor(key := checkpoint_files.key(f"{name}/{len(found)}")):
                    found.append(reader.get_tensor(key))
        return weights

    def steps(self) -> list[int]:
        """Lists the steps of the checkpoints, ascending."""
        found = [path for path in self.folder.glob("step-*") if _NAME.fullmatch(path.name)]
        folders = {path.name for path in found if path.is_dir() and not path.is_symlink()}
        steps = sorted(int(name.removeprefix("step-")) for name in folders)
        return [step for step in steps if self.path(step).name in folders]

    def record(self, step: int) -> dict[str, Any]:
        """Returns the record of the checkpoint of `step`.

        Metrics recorded as null are NaN; `totals` are `Totals`, of no steps if none were recorded.

        Raises:
          OSError: it cannot be read.
          ValueError: it is damaged, or belongs to another step.
        """
        return checkpoint_files.read_record(self.path(step), step)

    def problem_with(self, step: int) -> str | None:
        """Says what is wrong with the files of a checkpoint; None if it is intact."""
        return checkpoint_files.problem(self.path(step), step)

    def best_step(self) -> int | None:
        """Returns the step whose checkpoint has the lowest `best_metric`, or None."""
        return next(iter(self._by_score(self.steps())), None)

    def _by_score(self, steps: Sequence[int]) -> list[int]:
        """Returns the steps with a `best_metric`, the lowest first."""
        scores, best_metric = {}, self.best_metric
        for step in steps:
            with contextlib.suppress(OSError, ValueError):
                scores[step] = self.record(step)["metrics"].get(best_metric, math.nan)
        finite = [step for step, score in scores.items() if math.isfinite(score)]
        return sorted(finite, key=scores.__getitem__)

    def _by_preference(self, steps: Sequence[int]) -> list[int]:
        """Returns all steps: the best first, and last the newest of those that were not evaluated."""
        return list(dict.fromkeys([*self._by_score(steps), *reversed(steps)]))

    def path(self, step: int) -> pathlib.Path:
        """Returns the folder of the checkpoint of `step`."""
        return self.folder / f"step-{step:08d}"
