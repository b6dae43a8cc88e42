"""What a callback is told, and when."""

import contextlib
import dataclasses
import functools
import time
from typing import Any

import tensorflow as tf
from tensorboard.compat.proto import event_pb2

from vaeflow import validation
from vaeflow.errors import EnvironmentFailure


@dataclasses.dataclass
class Run:
    """A run as its callbacks see it.

    Attributes:
      trainer: the `Trainer`; its `step`, `model`, `optimizer` and `strategy`.
      evaluator: an `Evaluator` of the evaluation split.
      evaluation_split: the evaluation `Split`.
      workdir: the `WorkDir`.
      checkpoints: the `CheckpointStore`.
      stop_request: a `StopRequest`; a callback may set its `name` to end the run with its
        state saved.
      num_steps: the step at which the run ends.
      configuration: the gin text of the run.
      source: the name of the dataset, for messages.
      facts: what is known of the run beforehand, name -> text, for people.
      metrics: the newest value of every metric that was reported so far, with `step`,
        `examples_seen` and `wall_seconds` (of training, over all resumptions).
    """

    trainer: Any
    evaluator: Any
    evaluation_split: Any
    workdir: Any
    checkpoints: Any
    stop_request: Any
    num_steps: int
    configuration: str
    source: str
    facts: dict
    metrics: dict = dataclasses.field(default_factory=dict)

    @property
    def step(self):
        """The number of steps that were trained."""
        return self.trainer.step

    @contextlib.contextmanager
    def summaries(self):
        """Takes the `tf.summary` calls inside; all callbacks share one file, which is flushed afterwards.

        Raises:
          EnvironmentFailure: the disk refused.
        """
        try:
            with self._summary_writer.as_default(step=self.step):
                yield
            self._summary_writer.flush()
        except (OSError, tf.errors.OpError) as error:
            reason = str(error).partition("}} ")[2] or str(error)
            raise EnvironmentFailure(f"summaries cannot be written: {reason.splitlines()[0]}") from error

    @functools.cached_property
    def _summary_writer(self):
        writer = tf.summary.create_file_writer(str(self.workdir.tensorboard))
        # A run that was killed has written of steps that are now trained again: TensorBoard
        # forgets them when it reads that a session starts there.
        start = event_pb2.SessionLog(status=event_pb2.SessionLog.START)
        event = event_pb2.Event(wall_time=time.time(), step=self.step + 1, session_log=start)
        tf.raw_ops.ImportEvent(writer=writer._resource, event=event.SerializeToString())
        return writer


class Callback:
    """Acts between two loops of training.

    After each loop every callback may `measure` something, then every callback is
    told `on_log` what all of them measured. Where several workers train, each of them
    calls `measure`, which may compute on all replicas; the rest, with its effects, is
    the chief's alone, unless `on_every_worker` says otherwise.

    Attributes:
      on_every_worker: True where every worker is to call all methods.

    Args:
      every_steps: acts after these steps, and after the last; None for after each
        loop. Loops end there.
    """

    on_every_worker = False

    def __init__(self, every_steps=None):
        if every_steps is not None:
            validation.positive_integer(f"{type(self).__name__}.every_steps", every_steps)
        self.every_steps = every_steps

    def is_due(self, run):
        """Whether this callback acts after the loop that just ended."""
        return self.every_steps is None or run.step % self.every_steps == 0 or run.step == run.num_steps

    def on_train_begin(self, run):
        """Called once, after a checkpoint was restored and before the first loop."""

    def measure(self, run):
        """Called after a loop when due; returns metrics to add, a dict of floats."""
        return {}

    def on_log(self, run, metrics):
        """Called after a loop when due, with the metrics of this loop, a dict of floats."""

    def on_train_end(self, run):
        """Called once, when the run is finished or stops early with its state saved."""
