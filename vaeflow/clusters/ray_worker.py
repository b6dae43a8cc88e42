"""Trains in a worker that Ray placed, in contact with the command that started it."""

import contextlib
import math
import os
import socket
import threading
import time

import ray
import ray.train
from ray.exceptions import RayError

from vaeflow.callbacks import Callback
from vaeflow.devices import replicas
from vaeflow.errors import FINAL_ENDS, REGULAR_ENDS, ConfigurationError, Preempted, RunError

# Between two requests to Ray whether to stop.
_POLL_SECONDS = 0.5


def work(train, arguments, folder, job):
    """Trains in a thread of the worker's process, which receives no signals.

    Args:
      train: the function to call, `train(arguments, extra_callbacks)`; see `RayCluster`.
      arguments: passed to `train`.
      folder: the current folder of the command.
      job: the handle of a `Job`.

    Raises:
      RunError: the training failed; Ray ends the other workers and restarts all.
    """
    code, reason = _go_to(folder) or train(arguments, [Reporting(job)])
    is_chief = ray.train.get_context().get_world_rank() == 0
    # The chief is among the preempted workers, and knows the reason best.
    if code in FINAL_ENDS or (code == Preempted.exit_code and is_chief):
        ray.get(job.end.remote(code, reason))
    if code not in REGULAR_ENDS:
        raise RunError(reason)


class Reporting(Callback):
    """Reports the metrics to Ray, and listens for its request to stop.

    Ray waits until all workers have reported, and accepts a report every two seconds at
    most, so the chief decides when all of them report. The chief also listens, in a thread,
    so that a request need not wait for the next log.

    Args:
      job: the handle of a `Job`.
      every_seconds: the shortest time between two reports; the end is always reported.
    """

    on_every_worker = True

    def __init__(self, job, every_seconds=5.0):
        super().__init__()
        self._job = job
        self._every_seconds = every_seconds
        self._last_report = -math.inf
        self._ended = threading.Event()

    def on_train_begin(self, run):
        if run.workdir.writable:
            threading.Thread(target=self._listen, args=(run.stop_request,), daemon=True).start()

    def on_log(self, run, metrics):
        due = False
        if run.workdir.writable:
            due = time.monotonic() - self._last_report > self._every_seconds and run.step < run.num_steps
        if replicas.mean_over_workers(run.trainer.strategy, due):
            self._last_report = time.monotonic()
            ray.train.report(run.metrics)

    def on_train_end(self, run):
        self._ended.set()
        ray.train.report(run.metrics)

    def _listen(self, stop_request):
        # The actor is gone once the job has ended.
        with contextlib.suppress(RayError):
            while stop_request.name is None and not self._ended.wait(_POLL_SECONDS):
                if signal := ray.get(self._job.stop_signal.remote()):
                    stop_request.ask(signal)


def _go_to(folder):
    """Enters the current folder of the command.

    Returns:
      None; or an exit code, and why.
    """
    try:
        os.chdir(folder)
    except OSError as error:
        return ConfigurationError.exit_code, (
            f"the current folder {folder} cannot be entered on {socket.gethostname()} ({error.strerror}); "
            "start the command in a folder that all machines of the cluster share"
        )
    return None
