"""Ends a command that hangs, or a run that has lost a worker, and cannot continue by itself."""

from __future__ import annotations

import faulthandler
import math
import os
import pathlib
import sys
import threading
import time
from types import TracebackType
from typing import TYPE_CHECKING, Self

from absl import logging

from vaeflow.errors import FINAL_ENDS, FINISHED, INTERRUPTED, EnvironmentFailure, RunError, WorkerLost
from vaeflow.runs import ending, files, program, streams
from vaeflow.runs.escaping import printable
from vaeflow.runs.heartbeats import Heartbeats

if TYPE_CHECKING:
    from vaeflow.devices.workers import Workers

_RESUME = "run the same command to resume from the last checkpoint"
_REPEAT = "run the same command again"

_active: list[Watchdog] = []


def progress(doing: str, limit_seconds: float | None = None) -> None:
    """Reports progress to the watchdog of this process's command, if there is one.

    Whatever works for an unknown time calls this after each part of it, e.g. a batch.

    Args:
      doing, limit_seconds: as for `Watchdog.progress`.
    """
    if _active:
        _active[-1].progress(doing, limit_seconds)


def configure(folder: str | os.PathLike[str], limit_seconds: float) -> None:
    """Tells the watchdog of this process's command, if there is one, where and how a run is watched.

    Args:
      folder: the work folder, for the stacks.
      limit_seconds: a command without progress for this long is ended.
    """
    if _active:
        _active[-1].configure(folder, limit_seconds)


class Watchdog:
    """Watches a command from threads, because the main thread may never return from a TensorFlow call.

        with Watchdog(workdir, workers) as watchdog:
            watchdog.wait_for_peers()
            ...
            watchdog.progress("step 1200")

    A command that reports no progress for `limit_seconds` is ended, and the stacks of its
    threads are written to the work folder. Inside a watchdog another one may be started, which
    then watches alone. Among several workers, each shows that it is alive
    by updating a file in `<folder>/workers`. When one is lost, the main thread has
    `grace_seconds` to leave the context with TensorFlow's own error; then the process is ended
    too. Either way the exit code is 4, or that of the lost worker if another start would repeat it,
    and one line on stderr says why.

    Time during which the whole process was stopped, as Slurm does to free resources, does not count.

    Args:
      folder: the work folder, on a disk that the workers share; None for a command without one.
      workers: a `Workers`, or None for one process.
      limit_seconds: a command without progress for this long is ended.
      start_seconds: how long to wait for all workers to start, and then for them to connect.
      peer_seconds: a worker whose file has not changed for this long is lost.
      beat_seconds: time between two updates of this worker's file.
      grace_seconds: see above.
      resumes: whether the same command resumes what is ended here.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str] | None = None,
        workers: Workers | None = None,
        limit_seconds: float = 900.0,
        start_seconds: float = 120.0,
        peer_seconds: float = 30.0,
        beat_seconds: float = 2.0,
        grace_seconds: float = 5.0,
        resumes: bool = True,
    ) -> None:
        self._folder = None if folder is None else pathlib.Path(folder)
        self._workers = workers
        self._limit_seconds = limit_seconds
        self._start_seconds = start_seconds
        self._peer_seconds = peer_seconds
        self._beat_seconds = beat_seconds
        self._grace_seconds = grace_seconds
        self._advice = _RESUME if resumes else _REPEAT
        self._closed = threading.Event()
        self._joined = threading.Event()
        self._beating = threading.Lock()
        self._ended = False
        self._problem: WorkerLost | None = None
        self._heartbeats: Heartbeats | None = None
        self._progress = _Progress("the start", limit_seconds)

    def __enter__(self) -> Self:
        """Starts to watch.

        Raises:
          EnvironmentFailure: this worker cannot write its file.
        """
        if self._folder is not None and self._workers is not None:
            self._heartbeats = Heartbeats(self._folder, self._workers, self._awake_clock())
            self._heartbeats.look()
            self._beat()
            beating = threading.Thread(
                target=self._beat_on, args=(self._heartbeats,), name="heartbeats", daemon=True
            )
            beating.start()
        _active.append(self)
        threading.Thread(target=self._watch, name="watchdog", daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._heartbeats is not None:
            if error is not None:
                self._wait_for_chief(self._heartbeats)
            self._try_to_beat(ended=_exit_code(error), reason=_first_line(error))
        # Only now: the disk that takes the last beat may hang.
        self._closed.set()
        _active.remove(self)

    def progress(self, doing: str, limit_seconds: float | None = None) -> None:
        """Reports that the run makes progress.

        Args:
          doing: what it does now, e.g. `"step 1200"`; the error names it if it never ends.
          limit_seconds: how long it may take; None for the usual time.
        """
        self._progress = _Progress(doing, self._limit_seconds if limit_seconds is None else limit_seconds)

    def configure(self, folder: str | os.PathLike[str], limit_seconds: float) -> None:
        """Changes where the stacks are written, and how long progress may take from now on."""
        self._folder, self._limit_seconds = pathlib.Path(folder), limit_seconds
        self.progress(self._progress.doing)

    def wait_for_peers(self) -> None:
        """Returns when all workers have started; call it before TensorFlow connects them.

        Raises:
          WorkerLost: a worker failed in a way that another start would repeat.
          EnvironmentFailure: a worker, which the message names, did not start within
            `start_seconds`.
        """
        if self._heartbeats is None or self._workers is None:
            return
        self.progress("the wait for the other workers", math.inf)
        deadline = time.monotonic() + self._start_seconds
        while not self._joined.wait(self._beat_seconds / 4):
            if self._problem is not None:
                raise self._problem
            if time.monotonic() > deadline:
                names = ", ".join(map(self._workers.describe, self._heartbeats.missing()))
                raise EnvironmentFailure(
                    f"{names} did not start within {self._start_seconds:.0f} s; start all workers, with "
                    f"the work folder {self._folder} on a disk that they share; if each is a run of its own, "
                    "give each a work folder and set `train.strategy = @mirrored`"
                )
        self.progress("the connection of the workers, whose ports must be reachable", self._start_seconds)

    def explain_failure(self) -> WorkerLost | None:
        """Finds the lost worker after TensorFlow raised an error that may come from it.

        Returns:
          The error to raise; None if no worker was found lost within `peer_seconds`, so that
          TensorFlow's has another cause.
        """
        if self._heartbeats is None:
            return None
        self.progress("the search for the worker that was lost", math.inf)
        deadline = time.monotonic() + self._peer_seconds + 3 * self._beat_seconds
        while self._problem is None and time.monotonic() < deadline:
            time.sleep(self._beat_seconds / 4)
        if self._problem is None:
            return None
        return WorkerLost(self._advised(self._problem), self._problem.exit_code)

    def _watch(self) -> None:
        # Does not touch the disk, which may be what hangs.
        clock = self._awake_clock()
        current, since = self._progress, clock()
        while not self._closed.wait(self._beat_seconds / 4):
            now = clock()
            if self._progress is not current or _active[-1:] != [self]:
                current, since = self._progress, now
            if now - since > current.limit_seconds:
                stalled = f"no progress for {now - since:.0f} s in {current.doing}"
                self._end(EnvironmentFailure(stalled), self._stacks_path())
            if self._problem is not None and not self._closed.wait(self._grace_seconds):
                self._end(self._problem)

    def _beat_on(self, heartbeats: Heartbeats) -> None:
        while not self._closed.wait(self._beat_seconds / (1 if self._joined.is_set() else 8)):
            self._try_to_beat()
            heartbeats.look()
            if not self._joined.is_set() and not heartbeats.missing():
                heartbeats.join()
                # Before TensorFlow starts, so that the others need not wait for the next beat.
                self._try_to_beat()
                self._joined.set()
            self._problem = self._problem or heartbeats.problem(self._peer_seconds)

    def _try_to_beat(self, ended: int | None = None, reason: str | None = None) -> None:
        try:
            self._beat(ended, reason)
        except EnvironmentFailure as error:
            logging.warning("the other workers will consider this one lost: %s", error)

    def _beat(self, ended: int | None = None, reason: str | None = None) -> None:
        with self._beating:
            if self._heartbeats is not None and self._heartbeats.may_beat() and not self._ended:
                self._ended = ended is not None
                self._heartbeats.beat(self._progress.doing, ended, reason)

    def _wait_for_chief(self, heartbeats: Heartbeats) -> None:
        """Gives the chief the time of two beats to show itself, so that this worker can say why it ends."""
        deadline = time.monotonic() + 2 * self._beat_seconds
        while not heartbeats.may_beat() and time.monotonic() < deadline:
            time.sleep(self._beat_seconds / 40)
            heartbeats.look()

    def _end(self, problem: EnvironmentFailure, stacks: pathlib.Path | None = None) -> None:
        ending.end_at_once(problem.exit_code, lambda: self._report(problem, stacks))

    def _report(self, problem: EnvironmentFailure, stacks: pathlib.Path | None) -> None:
        where = [] if stacks is None else [f"the stacks of all threads are in {stacks}"]
        line = f"{program.current.name}: error: {self._advised(problem, *where)}\n"
        streams.write_error(printable(line))
        if stacks is not None:
            try:
                with files.writing(stacks, durable=False) as file:
                    faulthandler.dump_traceback(file)
            except EnvironmentFailure:
                faulthandler.dump_traceback(2)
        if self._heartbeats is not None:
            self._try_to_beat(ended=problem.exit_code, reason=str(problem))
        sys.stdout.flush()

    def _advised(self, problem: EnvironmentFailure, *where: str) -> str:
        """Says what happened, where to look, and what to do unless it would only happen again."""
        advice = [] if problem.exit_code in FINAL_ENDS else [self._advice]
        return "; ".join([str(problem), *where, *advice])

    def _stacks_path(self) -> pathlib.Path | None:
        worker = "" if self._workers is None else f"-worker-{self._workers.index}"
        return None if self._folder is None else self._folder / f"stacks{worker}.txt"

    def _awake_clock(self) -> _AwakeClock:
        return _AwakeClock(4 * self._beat_seconds)


class _Progress:
    """The last report of a run; compared by identity."""

    def __init__(self, doing: str, limit_seconds: float) -> None:
        self.doing = doing
        self.limit_seconds = limit_seconds


class _AwakeClock:
    """Counts the seconds during which this process ran; must be called often.

    Args:
      longest_seconds: a longer time between two calls counts as this much.
    """

    def __init__(self, longest_seconds: float) -> None:
        self._longest_seconds = longest_seconds
        self._asked_at = time.monotonic()
        self._seconds = 0.0

    def __call__(self) -> float:
        now = time.monotonic()
        self._seconds += min(now - self._asked_at, self._longest_seconds)
        self._asked_at = now
        return self._seconds


def _exit_code(error: BaseException | None) -> int:
    """The exit code with which an exception, or none, ends the process."""
    if error is None:
        return FINISHED
    if isinstance(error, RunError):
        return error.exit_code
    if isinstance(error, KeyboardInterrupt):
        return INTERRUPTED
    return RunError.exit_code


def _first_line(error: BaseException | None) -> str | None:
    lines = str(error).splitlines()
    return lines[0] if error is not None and lines else None
