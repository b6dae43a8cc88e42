"""Copies the run to a remote folder, and fetches it from there onto a new machine."""

from __future__ import annotations

import urllib.parse

from absl import logging

from vaeflow import registry
from vaeflow.callbacks.base import Callback, RunContext
from vaeflow.errors import ConfigurationError, EnvironmentFailure
from vaeflow.runs import remote_folder, watchdog
from vaeflow.runs.background import Background
from vaeflow.runs.escaping import printable
from vaeflow.runs.mirrored_run import MirroredRun, Superseded
from vaeflow.runs.remote_folder import RemoteFolder
from vaeflow.runs.workdir import WorkDir

# Besides letters, digits and `_.-~`: no library or tool of a store takes these for a pattern or a separator.
_SAFE = "=+,@"


@registry.callback
class Mirror(Callback):
    """Copies a run to a remote folder, from where another machine goes on when this one is preempted.

    Needs `pip install 'vaeflow[cloud]'`. Each finished checkpoint is copied, with the log, the pictures and
    the summaries; what the work folder deletes goes there too. A thread copies while the training goes on.
    What fails is tried three times, then with the next checkpoint, and a warning counts the failures. The run
    waits for the copy at its end, and when a signal stops it. It does not fail because of it: a last warning
    says what the copy lacks, and the same command tries again.

    In a work folder without a checkpoint, the run is fetched, with all its whole checkpoints, and goes on
    exactly. Where the work folder holds a run, that counts. A copy of another run, or of later steps of this
    one, is refused. Of two machines that run the same command, only the one that started last copies.

    Args:
      url: a folder as fsspec takes it, such as `gs://bucket/runs`, `s3://bucket/runs` or `file:///mnt/runs`.
        The run gets a folder of the work folder's name in it. Let credentials come from the environment or
        the files of the store's own tools: the URL is part of the configuration.

    Raises:
      ConfigurationError: it is no URL, or the library for it is missing.
    """

    only_reports = True

    def __init__(self, url: str) -> None:
        super().__init__()
        self.url = remote_folder.check_url("Mirror.url", url).rstrip("/")
        self._copying = Background("mirror")
        self._run: MirroredRun | None = None
        self._seen: dict[int, tuple[int, int] | None] = {}
        self._num_failures = 0
        self._refused: str | None = None

    def before_resume(self, workdir: WorkDir, configuration: str, allow_change: bool) -> None:
        name = urllib.parse.quote(workdir.path.resolve().name, safe=_SAFE)
        self._remote = RemoteFolder("Mirror.url", f"{self.url}/{name}")
        self._remote.report = watchdog.progress
        self._run = MirroredRun(workdir, self._remote)
        if not self._run.has_begun():
            step = self._run.fetch(configuration, allow_change)
            if step is not None:
                print(printable(f"fetched step {step:,} of this run from {self._remote}"))
            return
        try:
            self._run.claim()
            if workdir.result() is not None:  # Finished: only what its copy lacks is left to do.
                self._run.copy()
        except EnvironmentFailure as error:
            self._warn(error)

    def on_log(self, run: RunContext, metrics: dict[str, float]) -> None:
        if self._run is None or self._refused or self._copying.is_busy():
            return
        finished = self._run.finished()
        if finished != self._seen:
            self._seen = finished
            self._remote.report = remote_folder.silent  # Copying is no progress of the training.
            self._copying.start(self._copy)

    def on_train_end(self, run: RunContext) -> None:
        if not run.is_finished:
            self._copy_rest()

    def on_run_end(self, run: RunContext) -> None:
        self._copy_rest()

    def _copy_rest(self) -> None:
        """Copies the last state; says where it is, or what it lacks."""
        if self._run is None:
            return
        watchdog.progress(f"the copy to {self._remote}")
        self._remote.report = watchdog.progress
        self._copying.wait()
        if self._refused is None:
            self._copy()
        if left := self._run.left():
            logging.warning(
                "the copy in %s lacks %s; run the same command again, or copy the work folder there yourself",
                *(self._remote, ", ".join(left)),
            )
        else:
            print(printable(f"copy         {self._remote}"))

    def _copy(self) -> None:
        assert self._run is not None
        try:
            self._run.copy()
        except (ConfigurationError, Superseded) as error:
            self._refused = str(error)
            logging.warning("%s", error)
        except EnvironmentFailure as error:
            self._warn(error)

    def _warn(self, error: EnvironmentFailure) -> None:
        self._num_failures += 1
        times = "once" if self._num_failures == 1 else f"{self._num_failures} times"
        logging.warning("the copy of the run has failed %s so far: %s; the run goes on", times, error)
