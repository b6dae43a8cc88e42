"""A run of a study in a worker that Ray placed: what the task does."""

import contextlib
import os
import pathlib
import signal
import socket
import time

from vaeflow.commands.studies.place import Job, JobEnd
from vaeflow.commands.studies.running import RunningJob
from vaeflow.errors import ConfigurationError

_POLL_SECONDS = 0.1


def carry_out(job: Job, folder: str, marker: str, cores_each: int | None) -> JobEnd:
    """Carries out a job; `ray.cancel` lets it save its state and end.

    Args:
      job: the job.
      folder: the current folder of the study.
      marker: a file that the study has written to its folder just now.
      cores_each: the number of CPU cores that the job may use; None for all.

    Raises:
      ConfigurationError: this machine does not share the study's folder.
      EnvironmentFailure: see `RunningJob`.
    """
    _check_shared(folder, marker)
    os.chdir(folder)
    with contextlib.ExitStack() as stack:
        running = RunningJob(job, cores=_take_cores(cores_each, stack))
        stack.callback(running.close)
        # Instead of a KeyboardInterrupt, which could come anywhere.
        previous = signal.signal(signal.SIGINT, lambda *_: running.stop())
        stack.callback(signal.signal, signal.SIGINT, previous)
        while (end := running.poll()) is None:
            time.sleep(_POLL_SECONDS)
        return end


def _check_shared(folder: str, marker: str) -> None:
    for path, name in ((folder, "the current folder"), (marker, "the study's folder")):
        if not pathlib.Path(path).exists():
            shown = path if path == folder else pathlib.Path(path).parent
            raise ConfigurationError(
                f"{name} {shown} is not there on {socket.gethostname()}, or is another one there; start the "
                "study in folders that all machines of the cluster share"
            )


def _take_cores(count: int | None, stack: contextlib.ExitStack) -> list[int] | None:
    """Takes cores of this machine that no other run on Ray has taken.

    Ray counts CPUs and does not say which. A core is taken by a socket of its name, which the system
    closes when this process dies.

    Returns:
      Their numbers; None for all, also where too few are left.
    """
    cores = list[int]()
    with contextlib.ExitStack() as taken:
        for core in sorted(os.sched_getaffinity(0)) if count else ():
            one = taken.enter_context(socket.socket(socket.AF_UNIX))
            with contextlib.suppress(OSError):
                one.bind(f"\0vaeflow-core-{core}")
                cores.append(core)
            if len(cores) == count:
                stack.enter_context(taken.pop_all())
                return cores
    return None
