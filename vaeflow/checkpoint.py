"""Checkpoints that are whole or not there, verified before they are used."""

import hashlib
import json
import math
import os
import pathlib
import shutil

import tensorflow as tf
from absl import logging

from vaeflow.errors import ConfigurationError, EnvironmentFailure

_RECORD = "record.json"
_UNFINISHED = ".unfinished-"


class CheckpointStore:
    """The folder of a run's checkpoints, one sub-folder each: `step-00001200/`.

    A checkpoint is TensorFlow's (`variables.index`, `variables.data-…`) beside a
    `record.json` with the step, the metrics and the SHA-256 of each file. It is
    written under another name, flushed to the disk, and then renamed: under its own
    name it is whole. Reading verifies the sums and falls back to the one before.

    Args:
      folder: where checkpoints are kept; made when the first is saved.
      keep: how many of the newest are kept.
      best_metric: the metric, lower is better, whose best checkpoint is kept too.
    """

    def __init__(self, folder, keep=3, best_metric="evaluation/negative_elbo"):
        self.folder = pathlib.Path(folder)
        self.keep = keep
        self.best_metric = best_metric

    def save(self, checkpoint, step, metrics=None):
        """Writes a checkpoint of `step` and removes those no longer kept.

        Args:
          checkpoint: a `tf.train.Checkpoint`.
          step: the number of steps that were trained.
          metrics: the last known metrics, a dict of floats.

        Returns:
          The checkpoint's folder.

        Raises:
          EnvironmentFailure: the disk refused; nothing half-written remains.
        """
        final = self._path(step)
        if final.exists() and self.problem_with(step) is None:
            return final  # Saved already, when a signal and the cadence fall together.
        unfinished = self.folder / f"{_UNFINISHED}{final.name}"
        try:
            self._remove_unfinished()
            unfinished.mkdir(parents=True)
            checkpoint.write(str(unfinished / "variables"))
            self._write_record(unfinished, step, metrics or {})
            if final.exists():
                shutil.rmtree(final)
            unfinished.rename(final)
            _flush(self.folder)
        except Exception as error:
            shutil.rmtree(unfinished, ignore_errors=True)
            raise EnvironmentFailure(
                f"the checkpoint of step {step} cannot be written to {final}: {error}"
            ) from error
        self._prune(step)
        return final

    def restore(self, checkpoint):
        """Reads the newest checkpoint that is whole into `checkpoint`.

        Args:
          checkpoint: a `tf.train.Checkpoint` of the same variables.

        Returns:
          Its record, a dict with `step` and `metrics`; None where there is none.

        Raises:
          EnvironmentFailure: there are checkpoints, and none of them is whole.
          ConfigurationError: the variables are not those of the checkpoint.
        """
        steps = self.steps()
        for step in reversed(steps):
            path = self._path(step)
            problem = self.problem_with(step)
            if problem:
                logging.warning("refused the checkpoint %s: %s; trying the one before", path, problem)
                continue
            self._read(checkpoint, path)
            return self.record(step)
        if steps:
            raise EnvironmentFailure(
                f"none of the {len(steps)} checkpoints in {self.folder} is whole; to start anew, choose "
                "another `--workdir` or remove the folder"
            )
        return None

    def steps(self):
        """Lists the steps of the checkpoints, ascending."""
        numbers = (path.name.removeprefix("step-") for path in self.folder.glob("step-*"))
        return sorted(int(number) for number in numbers if number.isdecimal())

    def record(self, step):
        """Returns what was recorded beside the checkpoint of `step`.

        Raises:
          OSError: it cannot be read.
          ValueError: it is damaged, or of another step.
        """
        record = json.loads((self._path(step) / _RECORD).read_text())
        parts = {"step": int, "metrics": dict, "sha256": dict}
        known = isinstance(record, dict) and all(isinstance(record.get(k), kind) for k, kind in parts.items())
        if not known:
            raise ValueError(f"it lacks one of {', '.join(parts)}")
        if record["step"] != step or not record["sha256"]:
            raise ValueError(f"it is of step {record['step']} and {len(record['sha256'])} files")
        return record

    def problem_with(self, step):
        """Says what is wrong with the files of a checkpoint; None where it is whole."""
        path = self._path(step)
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

    def best_step(self):
        """Returns the step of the checkpoint with the lowest `best_metric`, or None."""
        scores = {}
        for step in self.steps():
            try:
                score = self.record(step)["metrics"].get(self.best_metric)
            except (OSError, ValueError):
                continue
            if score is not None and math.isfinite(score):
                scores[step] = score
        return min(scores, key=scores.get) if scores else None

    def _path(self, step):
        return self.folder / f"step-{step:08d}"

    def _write_record(self, folder, step, metrics):
        sums = {path.name: _sha256(path) for path in sorted(folder.iterdir())}
        record = {"step": step, "metrics": metrics, "sha256": sums}
        (folder / _RECORD).write_text(json.dumps(record, indent=1))
        for path in (*folder.iterdir(), folder):
            _flush(path)

    def _read(self, checkpoint, path):
        try:
            checkpoint.read(str(path / "variables")).assert_consumed()
        except (AssertionError, ValueError, tf.errors.InvalidArgumentError) as error:
            raise ConfigurationError(
                f"the checkpoint {path} is of another model or optimizer ({str(error).splitlines()[0]}); "
                "choose another `--workdir`"
            ) from error

    def _prune(self, saved):
        # Damaged ones of later steps must not push out what was just saved.
        kept = {*self.steps()[-self.keep :], self.best_step(), saved}
        for step in self.steps():
            if step not in kept:
                shutil.rmtree(self._path(step))

    def _remove_unfinished(self):
        for path in self.folder.glob(f"{_UNFINISHED}*"):
            shutil.rmtree(path)


def _sha256(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _flush(path):
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
