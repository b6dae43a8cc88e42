"""What the callbacks of all trackers share: when they tell what, and what they do if that fails."""

from __future__ import annotations

import collections
import functools
import importlib.util
import math
import time
from collections.abc import Callable, Mapping
from typing import Any

import tensorflow as tf
from absl import logging

from vaeflow import __version__, validation
from vaeflow.callbacks.base import Callback, RunContext
from vaeflow.callbacks.trackers import described, tracked_run
from vaeflow.callbacks.trackers.record import Record
from vaeflow.callbacks.trackers.tracked_run import Line, Picture, TrackedRun
from vaeflow.errors import (
    FINISHED,
    ConfigurationError,
    EnvironmentFailure,
    Preempted,
    RunError,
    user_code,
)
from vaeflow.runs import watchdog
from vaeflow.runs.background import Background
from vaeflow.runs.checkpoint_folder import CheckpointFolder
from vaeflow.runs.escaping import printable, without_passwords
from vaeflow.runs.metrics_log import PROGRESS
from vaeflow.runs.workdir import WorkDir

_PAUSE_SECONDS = 30.0  # After a failure, before the next try.
_LONGEST_REASON = 300
_LONGEST_TAG = 500


class Tracking(Callback):
    """Tells a tracker of experiments about a run; its subclasses know the tracker's library.

    A job is one run of the tracker, on any number of workers and over all its starts. The first worker tells
    it the parameters of the configuration, each line of `metrics.jsonl` with its step, the pictures of
    `Images`, the digest of the weights in the newest checkpoint, and how the run ended. List it last.

    A thread does so while the training goes on. What fails is tried again half a minute later, with one
    warning in all; a last one says what the tracker lacks at the end. Only a first start that cannot reach
    the tracker ends with code 4. Steps that a resumed run trains again are not told twice.

    Args:
      log_checkpoints: whether the newest checkpoint is uploaded whenever one is finished.
    """

    package: str
    extra: str

    def __init__(self, log_checkpoints: bool = False) -> None:
        super().__init__()
        own = type(self).__name__
        self.log_checkpoints = validation.boolean(f"{own}.log_checkpoints", log_checkpoints)
        if importlib.util.find_spec(self.package) is None:
            raise ConfigurationError(
                f"`{own}` needs a library that is not installed; pip install 'vaeflow[{self.extra}]'"
            )
        self._telling = Background("tracker")
        self._record: Record | None = None

    def connect(self, name: str, record: Mapping[str, Any], workdir: WorkDir) -> TrackedRun:
        """Finds the run of this job in the tracker, or begins it; may raise whatever the library raises.

        Args:
          name: of the run, for people.
          record: the content of its `Record`.
          workdir: the `WorkDir`.
        """
        raise NotImplementedError

    def before_resume(self, workdir: WorkDir, configuration: str, allow_change: bool) -> None:
        # A run that is finished has nothing to do but to tell what its tracker lacks.
        record = Record(workdir, self.extra)
        is_told = not record.was_reached or record.content["state"] == tracked_run.FINISHED
        if not is_told and workdir.result() is not None:
            self._begin(workdir, record)
            self._finish(tracked_run.FINISHED, FINISHED)

    def on_train_begin(self, run: RunContext) -> None:
        record = Record(run.workdir, self.extra)
        record.begin(run.configuration, run.step)
        self._begin(run.workdir, record)
        model = run.trainer.model
        self._positions = described.positions_of_weights(model)
        self._parameters = described.parameters(run.parameters)
        self._tags = described.tags(run.workdir) | {
            "version": __version__,
            "seed": str(run.trainer.settings.seed),
            "replicas": str(run.trainer.strategy.num_replicas_in_sync),
        }
        if self._attempt(self._open, must_work=not record.was_reached):
            record.note(state=tracked_run.RUNNING)
            assert self._run is not None
            print(printable(f"{type(self).__name__:<12} {self._run.place}"))

    def on_log(self, run: RunContext, metrics: dict[str, float]) -> None:
        line = {name: run.metrics[name] for name in PROGRESS} | metrics
        self._lines.append(_line(line))
        self._find_pictures()
        if not self._telling.is_busy() and time.monotonic() >= self._next_try:
            self._telling.start(self._tell)

    def on_train_end(self, run: RunContext) -> None:
        if not run.is_finished:
            self._finish(tracked_run.PREEMPTED, Preempted.exit_code)

    def on_failure(self, run: RunContext, error: Exception) -> None:
        if self._record is None or not self._record.was_reached:  # It failed before this callback had begun.
            return
        code = error.exit_code if isinstance(error, RunError) else RunError.exit_code
        why = printable(str(error) if isinstance(error, RunError) else type(error).__name__)
        self._facts["failure"] = why[:_LONGEST_TAG]
        self._finish(tracked_run.FAILED, code)

    def on_run_end(self, run: RunContext) -> None:
        self._finish(tracked_run.FINISHED, FINISHED)

    def _begin(self, workdir: WorkDir, record: Record) -> None:
        """Gathers what the tracker may lack from the work folder."""
        self._workdir, self._record = workdir, record
        self._checkpoints = CheckpointFolder(workdir.checkpoints)
        self._run: TrackedRun | None = None
        self._positions: list[int] = []
        self._parameters: dict[str, Any] = {}
        self._tags: dict[str, str] = {}
        self._facts: dict[str, Any] = {}
        self._lines = collections.deque(map(_line, workdir.read_metrics()))
        self._pictures: collections.deque[Picture] = collections.deque()
        told = record.content["picture"]
        self._seen = {each.path for each in described.pictures(workdir.images) if each.step <= told}
        self._find_pictures()
        self._next_try = 0.0
        self._has_warned = False

    def _find_pictures(self) -> None:
        for each in described.pictures(self._workdir.images):
            if each.path not in self._seen:
                self._seen.add(each.path)
                self._pictures.append(each)

    def _tell(self) -> None:
        """Tells what the tracker lacks, as far as that works."""
        if self._attempt(self._tell_lines_and_pictures):
            self._attempt(self._tell_checkpoint)

    def _open(self) -> TrackedRun:
        """Returns the run of the tracker, which is found or begun, and described, if it is not open."""
        if self._run is None:
            assert self._record is not None
            name = self._workdir.path.resolve().name
            found = self.connect(name, self._record.content, self._workdir)
            found.describe(self._parameters, self._tags)
            found.log_text(described.CONFIGURATION, described.text(self._workdir, described.CONFIGURATION))
            self._record.note(state=tracked_run.RUNNING)
            self._run = found
        return self._run

    def _tell_lines_and_pictures(self) -> None:
        """Tells them in the order of their steps, a picture before the line of its step."""
        for picture in tuple(self._pictures):
            self._tell_lines(picture.step)
            # A store of files that refuses it must not keep the metrics back.
            if not self._attempt(functools.partial(self._tell_picture, picture)):
                break
        self._tell_lines()

    def _tell_lines(self, before: float = math.inf) -> None:
        run = self._open()
        lines = [line for line in tuple(self._lines) if run.last_step < line.step < before]
        if lines:
            assert self._record is not None
            self._record.note(step=lines[-1].step)
            run.log(lines)
            run.last_step = lines[-1].step
        while self._lines and self._lines[0].step <= run.last_step:
            self._lines.popleft()

    def _tell_picture(self, picture: Picture) -> None:
        if picture.path.exists():
            self._open().log_picture(picture)
        assert self._record is not None
        self._record.note(picture=picture.step)
        self._pictures.popleft()

    def _tell_checkpoint(self) -> None:
        """Tells the digest of the newest finished checkpoint, and uploads it if asked to."""
        step = next(reversed(self._checkpoints.steps()), -1)
        assert self._record is not None
        if step <= self._record.content["checkpoint"] or not self._positions:
            return
        path = self._checkpoints.path(step)
        try:
            digest = described.weights_digest(path, self._positions)
        except (OSError, ValueError, RuntimeError, tf.errors.OpError):
            return  # Removed in the meantime; there is a newer one.
        run = self._open()
        run.set_facts({"checkpoint": step, "weights_sha256": digest})
        if self.log_checkpoints:
            run.log_checkpoint(path)
        self._record.note(checkpoint=step)

    def _finish(self, state: str, code: int) -> None:
        """Tells the rest, and how the run ended; warns of what is left."""
        own = type(self).__name__
        watchdog.progress(f"what {own} is told at the end", math.inf)
        self._telling.wait()
        self._find_pictures()
        self._tell()
        if self._lines or not self._attempt(lambda: self._end(state, code)):
            left = f"the last {len(self._lines)} lines of metrics and " if self._lines else ""
            again = "" if state == tracked_run.FAILED else "; run the same command again to send it"
            logging.warning("%s lacks %show the run ended%s", own, left, again)
        watchdog.progress(f"the end of the run, {own} done")

    def _end(self, state: str, code: int) -> None:
        run = self._open()
        if state == tracked_run.FINISHED:
            self._facts["weights_sha256"] = (self._workdir.result() or {}).get("weights_sha256")
            run.log_text("result.json", described.text(self._workdir, "result.json"))
        run.set_facts(self._facts)
        run.end(state, code)
        assert self._record is not None
        self._record.note(state=state)
        self._run = None

    def _attempt(self, call: Callable[[], Any], must_work: bool = False) -> bool:
        """Calls the library; returns whether it worked. If not, the run is opened anew for the next try.

        Args:
          call: what may raise anything.
          must_work: True to end the command if it does not.

        Raises:
          EnvironmentFailure: it had to work.
          ConfigurationError: the library was not told what it must know.
        """
        try:
            call()
        except Exception as error:  # The libraries raise their own, those of their clients, and Python's.
            if must_work and isinstance(error, ConfigurationError):
                raise
            self._run = None
            self._next_try = time.monotonic() + _PAUSE_SECONDS
            why = " ".join(without_passwords(user_code.reason(error)).split())[:_LONGEST_REASON]
            own = type(self).__name__
            if must_work:
                raise EnvironmentFailure(
                    f"`{own}` cannot reach its tracker ({why}); check its settings and that the tracker "
                    f"runs, or leave `{own}` out of `train.callbacks`"
                ) from error
            if not self._has_warned:
                logging.warning("%s could not be told all (%s); the run goes on, and tries again", own, why)
            self._has_warned = True
            return False
        return True


def _line(metrics: Mapping[str, float]) -> Line:
    finite = {name: value for name, value in metrics.items() if math.isfinite(value)}
    return Line(int(metrics["step"]), time.time(), finite)
