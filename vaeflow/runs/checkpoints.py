"""Checkpoints that are whole or not there, verified before they are used."""

import hashlib
import json
import math
import pathlib

import tensorflow as tf
from absl import logging

from vaeflow.errors import ConfigurationError, EnvironmentFailure
from vaeflow.runs import files
from vaeflow.runs.totals import Totals

_RECORD = "record.json"
_NO_STEPS = Totals()


class CheckpointStore:
    """The folder of a run's checkpoints, one sub-folder each: `step-00001200/`.

    A checkpoint is TensorFlow's (`variables.index`, `variables.data-…`) beside a
    `record.json` with the step, the metrics, the totals of a loop that was cut short, and
    the SHA-256 of each file. It is written under another name, flushed to the disk, and
    then renamed; to be removed, it is renamed first: under its own name it is whole.
    Reading verifies the sums and falls back to the one before.

    Args:
      folder: where checkpoints are kept; made when the first is saved.
      keep: how many of the newest are kept.
      best_metric: the metric, lower is better, whose best checkpoint is kept too.
      image_shape: `(H, W, C)` of the images that the model takes, recorded with each
        checkpoint, so that the model can be built without the data.
    """

    def __init__(self, folder, keep=3, best_metric="evaluation/negative_elbo", image_shape=None):
        self.folder = pathlib.Path(folder)
        self.image_shape = image_shape
        self.keep = keep
        self.best_metric = best_metric

    def save(self, checkpoint, step, metrics=None, totals=_NO_STEPS):
        """Writes a checkpoint of `step` and removes those no longer kept.

        Args:
          checkpoint: a `tf.train.Checkpoint`.
          step: the number of steps that were trained.
          metrics: the last known metrics, a dict of floats.
          totals: the `Totals` of the steps since the last log, where there are any.

        Returns:
          The checkpoint's folder.

        Raises:
          EnvironmentFailure: it could not be written; nothing half-written remains.
        """
        final = self.path(step)
        if final.exists() and self.problem_with(step) is None:
            return final  # Saved already, when a signal and the cadence fall together.
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

    def restore(self, checkpoint):
        """Reads the newest checkpoint that is whole into `checkpoint`.

        Args:
          checkpoint: a `tf.train.Checkpoint` of the same variables.

        Returns:
          Its record, a dict with `step`, `metrics` and `totals`; None where there is none.

        Raises:
          EnvironmentFailure: there are checkpoints, and none of them is whole.
          ConfigurationError: the variables are not those of the checkpoint.
        """
        steps = self.steps()
        for step in reversed(steps):
            path = self.path(step)
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

    def find(self, wanted):
        """Finds a whole checkpoint.

        Args:
          wanted: `"best"` (by `best_metric`; the newest where none was evaluated),
            `"last"`, a step, or the path of a checkpoint in this folder.

        Returns:
          Its step.

        Raises:
          ConfigurationError: there is none, or not that one.
          EnvironmentFailure: it is damaged; for `"best"` and `"last"`, all are.
        """
        steps = self.steps()
        if not steps:
            raise ConfigurationError(f"there is no checkpoint in {self.folder}; train first")
        if wanted not in ("best", "last"):
            return self._find_one(wanted, steps)
        whole = []
        for step in reversed(steps):
            if problem := self.problem_with(step):
                logging.warning("refused the checkpoint %s: %s", self.path(step), problem)
            else:
                whole.append(step)
        if not whole:
            raise EnvironmentFailure(f"none of the {len(steps)} checkpoints in {self.folder} is whole")
        return (self.best_step(whole) if wanted == "best" else None) or whole[0]

    def _find_one(self, wanted, steps):
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

    def read_weights(self, step):
        """Reads a checkpoint's weights, without its optimizer.

        Returns:
          A dict of lists of arrays, in the order of the variables: `model`, and
          `averages` of the trainable ones, empty where the run kept none.
        """
        reader = tf.train.load_checkpoint(str(self.path(step) / "variables"))
        weights = {"model": [], "averages": []}
        for name, found in weights.items():
            while reader.has_tensor(key := f"{name}/{len(found)}/.ATTRIBUTES/VARIABLE_VALUE"):
                found.append(reader.get_tensor(key))
        return weights

    def steps(self):
        """Lists the steps of the checkpoints, ascending."""
        numbers = (path.name.removeprefix("step-") for path in self.folder.glob("step-*"))
        return sorted(int(number) for number in numbers if number.isdecimal())

    def record(self, step):
        """Returns what was recorded beside the checkpoint of `step`, a dict.

        Metrics that are null there are NaN; its `totals` are `Totals`, of no steps where none
        are recorded.

        Raises:
          OSError: it cannot be read.
          ValueError: it is damaged, or of another step.
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

    def problem_with(self, step):
        """Says what is wrong with the files of a checkpoint; None where it is whole."""
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

    def best_step(self, steps=None):
        """Returns the step of the checkpoint with the lowest `best_metric`, of all or of some, or None."""
        scores = {}
        for step in self.steps() if steps is None else steps:
            try:
                score = self.record(step)["metrics"].get(self.best_metric)
            except (OSError, ValueError):
                continue
            if score is not None and math.isfinite(score):
                scores[step] = score
        return min(scores, key=scores.__getitem__) if scores else None

    def path(self, step):
        """Returns the folder of the checkpoint of `step`."""
        return self.folder / f"step-{step:08d}"

    def _write_record(self, folder, step, metrics, totals):
        sums = {path.name: _sha256(path) for path in sorted(folder.iterdir())}
        numbers = {name: value if math.isfinite(value) else None for name, value in metrics.items()}
        record = {
            "step": step,
            "image_shape": self.image_shape,
            "metrics": numbers,
            "totals": totals.to_json(),
            "sha256": sums,
        }
        (folder / _RECORD).write_text(json.dumps(record, indent=1, allow_nan=False))

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
                files.remove_folder(self.path(step))

    def remove_unfinished(self):
        """Removes what a run left behind that was killed while it saved or removed a checkpoint."""
        files.remove_unfinished(self.folder)


def _sha256(path):
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
