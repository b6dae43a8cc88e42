"""The base class of callbacks, and the run as they see it."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import tensorflow as tf
from tensorboard.compat.proto import event_pb2

from vaeflow import validation
from vaeflow.analysis.evaluator import Evaluator
from vaeflow.datasets.base import Split
from vaeflow.runs import files
from vaeflow.runs.checkpoints import CheckpointStore
from vaeflow.runs.signals import StopRequest
from vaeflow.runs.time_limit import TimeLimit
from vaeflow.runs.workdir import WorkDir

if TYPE_CHECKING:
    from vaeflow.training.trainer import Trainer


@dataclasses.dataclass
class RunContext:
    """A run as its callbacks see it.

    Attributes:
      trainer: the `Trainer`, with its `step`, `model`, `optimizer` and `strategy`.
      evaluator: an `Evaluator` of `evaluation_split`.
      evaluation_split: the `Split` that is evaluated during the training.
      workdir: the `WorkDir`.
      checkpoints: the `CheckpointStore`.
      stop_request: whether the run was asked to stop; a callback calls `stop`.
      num_steps: the step at which the run ends.
      configuration: the gin text of the run.
      source: the name of the dataset, for messages.
      facts: what is known of the run beforehand, name -> text, for people.
      parameters: the settings in force, `Class.parameter` -> number, boolean, None, text, or list of these.
      evaluated: its name: `"validation"` if there is such a split, else `"evaluation"`.
      metrics: the newest value of every metric that was reported so far, with `step`,
        `examples_seen` and `wall_seconds` (of training, over all resumptions).
      states: the states of callbacks in the checkpoint from which the run resumes; see `Callback.state`.
      time_limit: the `TimeLimit` of this start; None if it has all the time.
      ended_by: why a callback has ended the run before `num_steps`, or None; see `finish`.
      restored_step: the step whose weights the run ends with; None for those of its last.
      save_requested: whether the state is saved after this loop whatever `Checkpoints` says; see
        `keep_checkpoint`.
    """

    trainer: Trainer
    evaluator: Evaluator
    evaluation_split: Split
    workdir: WorkDir
    checkpoints: CheckpointStore
    stop_request: StopRequest
    num_steps: int
    configuration: str
    source: str
    facts: dict[str, str]
    parameters: dict[str, Any] = dataclasses.field(default_factory=dict)
    evaluated: str = "evaluation"
    metrics: dict[str, float] = dataclasses.field(default_factory=dict)
    states: dict[str, dict[str, Any]] = dataclasses.field(default_factory=dict)
    time_limit: TimeLimit | None = None
    ended_by: str | None = None
    restored_step: int | None = None
    save_requested: bool = False

    @property
    def step(self) -> int:
        """The number of steps trained so far."""
        return self.trainer.step

    @property
    def is_finished(self) -> bool:
        """Whether nothing is left to do, or a callback has ended the run."""
        # Totals without a step to come: the run was ended in what follows its last step.
        is_at_end = self.step >= self.num_steps and not self.trainer.totals.num_steps
        return is_at_end or self.ended_by is not None

    def finish(self, reason: str) -> None:
        """Ends the run after the current loop, as its last step would: with its result and exit code 0.

        Args:
          reason: for the last line and for `result.json`, e.g. `"EarlyStopping: no better …"`.
        """
        self.ended_by = self.ended_by or reason

    def keep_checkpoint(self, owner: str) -> None:
        """Saves the state after this loop, and keeps that checkpoint until `owner` asks for a newer one."""
        self.checkpoints.held[owner] = self.step
        self.save_requested = True

    def stop(self, reason: str) -> None:
        """Ends the run after the current loop, with its state saved and exit code 42.

        Args:
          reason: what stops it, for the message, e.g. `"the time limit of 2 h"`.
        """
        self.stop_request.ask(reason)

    @contextlib.contextmanager
    def summaries(self) -> Iterator[None]:
        """Takes the `tf.summary` calls inside; all callbacks share one file, which is flushed afterwards.

        Raises:
          EnvironmentFailure: the file could not be written.
        """
        try:
            with self._summary_writer.as_default(step=self.step):
                yield
            self._summary_writer.flush()
        except (OSError, tf.errors.OpError) as error:
            raise files.failure(self.workdir.tensorboard, error) from error

    @functools.cached_property
    def _summary_writer(self) -> tf.summary.SummaryWriter:
        writer = tf.summary.create_file_writer(str(self.workdir.tensorboard))
        # A killed run may have written summaries of steps that are now trained again. TensorBoard
        # drops them when it reads that a session starts at this step.
        # The classes of `event_pb2` are made at run time.
        session_log: Any = event_pb2.SessionLog  # pyright: ignore[reportAttributeAccessIssue]
        start = session_log(status=session_log.START)
        # What follows a loop is done again if the run was ended in it.
        first = self.step if self.trainer.totals.num_steps else self.step + 1
        event = event_pb2.Event(  # pyright: ignore[reportAttributeAccessIssue]
            wall_time=time.time(), step=first, session_log=start
        )
        # No public function writes an event of this kind.
        resource = writer._resource  # noqa: SLF001 # pyright: ignore[reportAttributeAccessIssue]
        tf.raw_ops.ImportEvent(writer=resource, event=event.SerializeToString())
        return writer


class Callback:
    """Acts between two loops of training.

    After each loop every callback may `measure` something; then each receives in `on_log` what all
    of them measured. Among several workers, each calls `measure`, which may compute on all replicas;
    the other methods, with their effects, run on the chief only, unless `on_every_worker` is True.

    Attributes:
      state: what a resumed run must know again: plain JSON, a dict that is empty when a run begins. Each
        checkpoint keeps it in its record, and `on_train_begin` finds it as it was. List a callback with a
        state before `Checkpoints`.
      on_every_worker: True if every worker calls all methods.
      takes_long: True if it may take long; a run with `Checkpoints` then saves its state before
        the callbacks act.
      only_reports: True if the next loop may be under way while it acts: it shows or writes what was
        measured, and neither reads nor changes weights, optimizers or the trainer's data, nor ends the run
        or asks for a save. A subclass says so anew.

    Args:
      every_steps: acts after these steps, and after the last; None for after each loop. Loops end
        there.
    """

    on_every_worker = False
    takes_long = False
    only_reports = False
    every_steps: int | None = None

    def __init__(self, every_steps: int | None = None) -> None:
        if every_steps is not None:
            validation.positive_count(f"{type(self).__name__}.every_steps", every_steps)
        self.every_steps = every_steps
        self.state: dict[str, Any] = {}

    def is_due(self, run: RunContext) -> bool:
        """Whether this callback acts after the loop that just ended.

        Override `is_due_after` where it can be said beforehand: the next loop then need not wait.
        """
        return self.is_due_after(run, run.step)

    def is_due_after(self, run: RunContext, step: int) -> bool:
        """Whether this callback acts after the loop that ends with a step; asked before or after it."""
        return self.every_steps is None or step % self.every_steps == 0 or step == run.num_steps

    def before_resume(self, workdir: WorkDir, configuration: str, allow_change: bool) -> None:
        """Called once on the chief, before a run looks for what its work folder holds; the others wait.

        Args:
          workdir: the `WorkDir`, which this process holds.
          configuration: the text that its `config.gin` is to hold.
          allow_change: whether the run may resume although the configuration is another.
        """

    def on_train_begin(self, run: RunContext) -> None:
        """Called once, after a checkpoint was restored and before the first loop."""

    def measure(self, run: RunContext) -> dict[str, float]:
        """Called after a loop when due; returns metrics to add."""
        return {}

    def on_log(self, run: RunContext, metrics: dict[str, float]) -> None:
        """Called after a loop when due, with the metrics of this loop."""

    def on_train_end(self, run: RunContext) -> None:
        """Called once, when the run is finished or stops early with its state saved."""

    def on_failure(self, run: RunContext, error: Exception) -> None:
        """Called once if an error ends the run, whatever was called before; not if the run stops early."""

    def on_run_end(self, run: RunContext) -> None:
        """Called once, last of all, after `result.json` of a finished run was written."""
