"""Checkpoints that are intact or absent, and that do not stop the training while they are written."""

from __future__ import annotations

import functools
import os
import pathlib
import time
from collections.abc import Callable, Mapping, Sequence, Set
from typing import Any

import tensorflow as tf
from absl import logging

from vaeflow.errors import RunError, TrainingDiverged
from vaeflow.runs import checkpoint_files, files, frozen_files, paths
from vaeflow.runs.background import Background
from vaeflow.runs.checkpoint_folder import CheckpointFolder
from vaeflow.runs.frozen_files import FrozenFile
from vaeflow.runs.initial_weights import InitialWeights
from vaeflow.runs.literal_paths import literal
from vaeflow.runs.metrics_log import LogDigest
from vaeflow.runs.snapshot import Snapshot
from vaeflow.runs.totals import Totals

_NO_STEPS = Totals()


class CheckpointStore(CheckpointFolder):
    """Saves the checkpoints of a run, and keeps the newest and the best.

    `save` copies the state. A thread then checks that it is finite, writes it under another name,
    computes the digests, flushes all to the disk and renames it; before a checkpoint is removed, it is
    renamed again. So under its own name a checkpoint is always intact, whenever the process is killed.
    At most one save is under way.

    Args:
      folder: where checkpoints are kept; made when the first is saved.
      keep: how many of the newest are kept.
      best_metric: the metric, lower is better, whose best checkpoint is kept too; None for
        the one recorded with the newest checkpoint, or the negative ELBO.
      image_shape: `(H, W, C)` of the model's images, recorded with each checkpoint so that
        the model can be built without the data.
      frozen_files: the files of the model's frozen blocks, recorded with each checkpoint in place
        of their weights.
      log_digest: returns the `LogDigest` of the run's log so far, recorded with each checkpoint; None
        for a store that saves none.
      weights: the names of the variables in each list of a checkpoint, recorded with each, so that other
        runs can start from some of them.

    Attributes:
      held: checkpoints that are kept besides: who needs one -> its step.
      states: returns the states of the run's callbacks, recorded with each checkpoint.
      initial_weights: the `InitialWeights` that the run started from, recorded with each checkpoint; None
        if it started from none.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        keep: int = 3,
        best_metric: str | None = None,
        image_shape: Sequence[int] | None = None,
        frozen_files: Sequence[FrozenFile] = (),
        log_digest: Callable[[], LogDigest] | None = None,
        weights: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        super().__init__(folder, best_metric, frozen_files)
        self.image_shape = image_shape
        self.held: dict[str, int] = {}
        self.states: Callable[[], dict[str, Any]] = dict
        self.initial_weights: InitialWeights | None = None
        self._weights = weights or {}
        self._log_digest = log_digest
        self._keep = keep
        self._snapshot = Snapshot()
        self._saving = Background("checkpoint")
        self._seconds = 0.0

    def retain(self, keep: int, best_metric: str) -> None:
        """Keeps the `keep` newest checkpoints from now on, and the best by `best_metric`."""
        self._keep, self._best_metric = keep, best_metric

    def save(
        self,
        checkpoint: tf.train.Checkpoint,
        step: int,
        metrics: Mapping[str, float] | None = None,
        totals: Totals = _NO_STEPS,
        wait: bool = True,
    ) -> pathlib.Path:
        """Writes a checkpoint of `step` and removes those no longer kept, after the save under way.

        Args:
          checkpoint: what to write.
          step: the number of steps trained so far.
          metrics: the last known metrics.
          totals: the `Totals` of the steps since the last log.
          wait: False to return as soon as the state is copied, into memory that the store keeps. What
            the save then fails with is raised by the next call of this, `check_saving` or `finish_saving`.

        Returns:
          The checkpoint's folder.

        Raises:
          EnvironmentFailure: it could not be written; nothing half-written remains.
          TrainingDiverged: a variable is not finite; nothing is saved or removed.
        """
        self.finish_saving()
        begun = time.monotonic()
        self._snapshot.take(checkpoint)
        record = {
            "step": step,
            "image_shape": self.image_shape,
            "frozen_files": frozen_files.to_json(self.frozen_files),
            "weights": self._weights,
            "initial_weights": None if self.initial_weights is None else self.initial_weights.to_json(),
            "best_metric": self.best_metric,
            "metrics": dict(metrics or {}),
            "callbacks": self.states(),
            "totals": totals.to_json(),
            "log": None if self._log_digest is None else self._log_digest().to_json(),
        }
        # What is held now: who asks for another checkpoint needs the one before until it is written.
        held = frozenset(self.held.values())
        self._saving.start(functools.partial(self._write, record, held, begun))
        if wait:
            self.finish_saving()
        return self.path(step)

    def check_saving(self) -> None:
        """Raises what a save failed with that has ended since the last call; see `save`."""
        self._saving.check()

    def finish_saving(self) -> None:
        """Waits for the save under way, if there is one, and raises what it failed with; see `save`."""
        self._saving.wait()

    def expected_seconds(self) -> float:
        """Returns how long a save would take now: as long as the last, or twice if one is under way.

        It is 0.0 before the first has ended.
        """
        return self._seconds * (2 if self._saving.is_busy() else 1)

    def remove_unfinished(self) -> None:
        """Removes what a run left that was killed while it saved or removed a checkpoint.

        Raises:
          EnvironmentFailure: the folder is a link that leads out of the work folder. Reading follows it.
        """
        files.remove_unfinished(paths.inside(self.folder.parent, self.folder.name))

    def _write(self, record: Mapping[str, Any], held: Set[int], begun: float) -> None:
        """Writes what was copied, and removes what is not kept beside the `held` steps; in the thread."""
        step = record["step"]
        paths.inside(self.folder.parent, self.folder.name)  # Refuses a link that leads elsewhere.
        if step in self.steps() and self.problem_with(step) is None:
            # Saved already, before an evaluation or because of a signal; now more may be known.
            self._complete_record(step, record)
        else:
            self.remove_unfinished()
            self._write_new(step, record)
            self._seconds = time.monotonic() - begun
        self._prune(step, held)

    def _write_new(self, step: int, record: Mapping[str, Any]) -> None:
        if bad := self._snapshot.first_not_finite():
            raise TrainingDiverged(
                f"training diverged: after step {step}, {bad} is not finite; it was not saved. Try a "
                "lower learning rate or `train.gradient_clip_norm`"
            )
        final = self.path(step)
        try:
            files.make_folder(self.folder)
            with files.staging(self.folder, final.name) as unfinished:
                with literal(unfinished) as safe:
                    self._snapshot.write(str(safe / checkpoint_files.VARIABLES))
                checkpoint_files.write_record(unfinished, record)
                checkpoint_files.make_way(final)
                files.move(unfinished, final)
        except RunError:
            raise
        except Exception as error:  # TensorFlow raises its own, of several classes.
            raise files.failure(final, error) from error

    def _complete_record(self, step: int, record: Mapping[str, Any]) -> None:
        """Records what is known now of a checkpoint that was saved before what follows its loop."""
        known = self.record(step)
        is_complete = not known["totals"].num_steps and known["metrics"].keys() >= record["metrics"].keys()
        if not is_complete and record["totals"] is None:
            checkpoint_files.write_record(self.path(step), record)

    def _prune(self, saved: int, held: Set[int]) -> None:
        # Damaged checkpoints of later steps must not displace the one just saved.
        kept = {*self.steps()[-self._keep :], self.best_step(), saved, *held}
        for step in self.steps():
            if step not in kept:
                try:
                    files.remove_folder(self.path(step))
                except OSError as error:
                    logging.warning("%s, no longer kept, cannot be removed: %s", self.path(step), error)
