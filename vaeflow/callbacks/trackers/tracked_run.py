"""A run as a tracker keeps it: what `Tracking` asks of a tracker's library."""

import abc
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

# How a run ends for a tracker.
FINISHED = "finished"
FAILED = "failed"
PREEMPTED = "preempted"
RUNNING = "running"


class Line(NamedTuple):
    """A line of `metrics.jsonl`.

    Attributes:
      step: the step that it is of.
      time: when it was written, in seconds since 1970.
      metrics: its finite values, `step` among them.
    """

    step: int
    time: float
    metrics: Mapping[str, float]


class Picture(NamedTuple):
    """A picture of a run.

    Attributes:
      step: the step that it was drawn at.
      name: what it shows, e.g. `"samples"`.
      path: of the PNG file.
    """

    step: int
    name: str
    path: pathlib.Path


class TrackedRun(abc.ABC):
    """The run of a tracker, open for more. Methods may raise whatever the library raises.

    Attributes:
      place: where a user finds it, e.g. its URL.
      last_step: the last step that the tracker holds a line of; -1 if none.
    """

    place: str
    last_step: int

    @abc.abstractmethod
    def describe(self, parameters: Mapping[str, Any], tags: Mapping[str, str]) -> None:
        """Adds the parameters of the configuration, and what else is known of the run; may be repeated."""

    @abc.abstractmethod
    def log(self, lines: Sequence[Line]) -> None:
        """Adds lines of metrics, whose steps ascend and are greater than `last_step`."""

    @abc.abstractmethod
    def log_picture(self, picture: Picture) -> None:
        """Adds a picture."""

    @abc.abstractmethod
    def log_text(self, name: str, text: str) -> None:
        """Adds a file with this text, or replaces it."""

    @abc.abstractmethod
    def log_checkpoint(self, path: pathlib.Path) -> None:
        """Uploads the folder of a checkpoint."""

    @abc.abstractmethod
    def set_facts(self, facts: Mapping[str, Any]) -> None:
        """Sets what is known of the run's result so far, e.g. the digest of its weights."""

    @abc.abstractmethod
    def end(self, state: str, code: int) -> None:
        """Says how the run ended.

        Args:
          state: `FINISHED`, `FAILED`, or `PREEMPTED` for one that will go on.
          code: the exit code of the command.
        """
