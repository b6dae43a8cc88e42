"""Runs several workers on this machine, and restarts all of them when one fails."""

import contextlib
import math
import os
import signal
import socket
import subprocess
import sys
import threading
import time

from vaeflow.devices.workers import Workers, to_tf_config
from vaeflow.errors import FINAL_ENDS, REGULAR_ENDS, ConfigurationError
from vaeflow.runs import processes, program, watchdog
from vaeflow.runs.signals import StopRequest

_POLL_SECONDS = 0.05
_LONGEST_DELAY_SECONDS = 60.0


class LocalCluster:
    """Runs one command as several workers, which find each other through `TF_CONFIG`.

    The output of the workers is passed on with the worker's number before each line. The first
    signal is passed on too, and lets the workers save their state; the second ends all. When this
    process or a worker dies for any reason, what it has started is killed.

    Args:
      command: a list of strings, the same for each worker.
      num_workers: the number of workers.
      max_restarts: how often all workers are restarted after one fails. A bad configuration
        (code 2) and a diverged training (3) would only fail again, and end the job at once.
      settle_seconds: how long the others may take to end by themselves after one fails,
        since one that fails a little later may know more about the reason.
      grace_seconds: how long they may then take to end on SIGTERM, before they are killed.
      first_delay_seconds: the time before the first restart; it doubles with each restart.
    """

    def __init__(
        self,
        command: list[str],
        num_workers: int,
        max_restarts: int = 0,
        settle_seconds: float = 1.0,
        grace_seconds: float = 30.0,
        first_delay_seconds: float = 1.0,
    ) -> None:
        self._command = command
        self._num_workers = num_workers
        self._max_restarts = max_restarts
        self._settle_seconds = settle_seconds
        self._grace_seconds = grace_seconds
        self._first_delay_seconds = first_delay_seconds
        self._gpus = _share_gpus(num_workers)
        self._printing = threading.Lock()
        self._stop_request = StopRequest()

    def run(self) -> int:
        """Runs the job to its end; call it in the main thread.

        Returns:
          The exit code of the job: 0 if all workers ended with 0; 42 if some ended with 42
          and the others with 0; else the code of the worker that failed first, or 128 + n
          if signal n killed it.
        """
        watchdog.progress("the run of the workers, which have watchdogs of their own", math.inf)
        # The workers tell the user of a signal.
        with self._stop_request.listening(notice=None):
            for restarts in range(self._max_restarts + 1):
                index, code = self._run_once()
                if (
                    code in (*REGULAR_ENDS, *FINAL_ENDS)
                    or self._stop_request.name
                    or restarts == self._max_restarts
                ):
                    break
                seconds = min(self._first_delay_seconds * 2**restarts, _LONGEST_DELAY_SECONDS)
                number = f"restart {restarts + 1} of {self._max_restarts}"
                self._say(f"worker {index} failed with {_describe(code)}; {number} in {seconds:.0f} s")
                if self._wait_for_signal(seconds):
                    break
        if code not in REGULAR_ENDS:
            self._say(f"error: worker {index} failed with {_describe(code)} after {restarts} restarts")
        return code

    def _run_once(self):
        """Starts the workers and waits for all of them.

        Returns:
          The worker that decides how the job ended, and its exit code.
        """
        with contextlib.ExitStack() as stack:
            workers = self._start(stack)
            printers = [
                self._pass_on(index, *streams)
                for index, worker in enumerate(workers)
                for streams in ((worker.stdout, sys.stdout), (worker.stderr, sys.stderr))
            ]
            ends = self._wait(workers)
            for printer in printers:
                printer.join(1)  # A process that left the worker's group may hold its output open.
        return _decisive(ends)

    def _start(self, stack):
        """Starts the workers, which end with the `ExitStack`."""
        addresses = tuple(f"127.0.0.1:{port}" for port in _free_ports(self._num_workers))
        workers = [
            stack.enter_context(
                processes.child(
                    self._command,
                    env=os.environ
                    | {"TF_CONFIG": to_tf_config(Workers(addresses, index))}
                    | self._gpus[index],
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    # A group of its own, so that Ctrl-C in the terminal arrives once, from here.
                    process_group=0,
                )
            )
            for index in range(self._num_workers)
        ]
        stack.enter_context(processes.groups_end_with_us([worker.pid for worker in workers]))
        return workers

    def _wait(self, workers):
        """Waits until all have ended; returns {worker: code} in the order of their ends."""
        ends, failed_at, told = {}, None, False
        while len(ends) < len(workers):
            for index, worker in enumerate(workers):
                if index not in ends and (code := processes.exit_code(worker)) is not None:
                    ends[index] = code if code >= 0 else 128 - code
            if failed_at is None and not set(ends.values()) <= set(REGULAR_ENDS):
                failed_at = time.monotonic()
            since = 0.0 if failed_at is None else time.monotonic() - failed_at
            # Only once: a second signal would prevent them from saving.
            if not told and (self._stop_request.name or since > self._settle_seconds):
                _send(workers, signal.Signals[self._stop_request.name or "SIGTERM"])
                told = True
            if since > self._settle_seconds + self._grace_seconds:
                for worker in workers:
                    processes.kill(worker, whole_group=True)
            time.sleep(_POLL_SECONDS)
        return ends

    def _pass_on(self, index, source, target):
        def pass_on():
            with source:
                for line in source:
                    text = line.decode(errors="replace").rstrip("\n")
                    with self._printing:
                        print(f"[worker {index}] {text}", file=target, flush=True)

        thread = threading.Thread(target=pass_on, daemon=True)
        thread.start()
        return thread

    def _wait_for_signal(self, seconds):
        """Waits; returns whether a signal arrived."""
        deadline = time.monotonic() + seconds
        while self._stop_request.name is None and time.monotonic() < deadline:
            time.sleep(_POLL_SECONDS)
        return self._stop_request.name is not None

    def _say(self, text):
        with self._printing:
            print(f"{program.current.name}: {text}", file=sys.stderr, flush=True)


def _decisive(ends):
    """Returns the worker and code that decide a job: a final failure, the first failure, the highest code."""
    failed = {index: code for index, code in ends.items() if code not in REGULAR_ENDS}
    for index, code in failed.items():
        if code in FINAL_ENDS:
            return index, code
    if failed:
        return next(iter(failed.items()))
    return max(ends.items(), key=lambda end: end[1])


def _describe(code):
    """Describes an exit code, e.g. `code 137 (SIGKILL)`."""
    try:
        return f"code {code} ({signal.Signals(code - 128).name})"
    except ValueError:
        return f"code {code}"


def _send(workers, number):
    for worker in workers:
        if worker.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(worker.pid, number)


def _free_ports(count):
    """Finds ports that are free on all interfaces, since TensorFlow listens on all of them."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("", 0))
        return [one.getsockname()[1] for one in sockets]


def _share_gpus(num_workers):
    """Returns variables for each worker's environment that share the GPUs equally, in order.

    Raises:
      ConfigurationError: there are fewer GPUs than workers, but not none.
    """
    gpus = visible_gpus()
    if not gpus:
        return [{}] * num_workers
    if len(gpus) < num_workers:
        raise ConfigurationError(
            f"{num_workers} workers cannot share {len(gpus)} GPU; use fewer with --num_workers, or set "
            "CUDA_VISIBLE_DEVICES to nothing to rehearse on the CPU"
        )
    share = len(gpus) // num_workers
    parts = [gpus[index * share : (index + 1) * share] for index in range(num_workers)]
    return [{"CUDA_VISIBLE_DEVICES": ",".join(part)} for part in parts]


def visible_gpus() -> list[str]:
    """Returns the names of the GPUs that this process may use, as `CUDA_VISIBLE_DEVICES` takes them."""
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    if chosen is not None:
        return [gpu for gpu in chosen.split(",") if gpu.strip() not in ("", "-1")]
    listed = processes.output(["nvidia-smi", "--list-gpus"])
    return [] if listed is None else [str(index) for index, _ in enumerate(listed.splitlines())]
