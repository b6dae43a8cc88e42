"""The runs of a study on a Ray cluster, which places, balances and retries them."""

import dataclasses
import functools
import math
import os
import pathlib
import secrets
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any

from absl import logging

from vaeflow import registry, validation
from vaeflow.commands.studies import ray_task
from vaeflow.commands.studies.place import STOP_NOTICE, Job, JobEnd, Place
from vaeflow.errors import EnvironmentFailure, Preempted, RunError
from vaeflow.runs import ending, files
from vaeflow.runs.signals import StopRequest

_POLL_SECONDS = 0.2
_LOOK_SECONDS = 1.0
_WARNING_SECONDS = 60
_NOT_STARTED = "stopped before it started"


@registry.place
class OnRay(Place):
    """A Ray cluster that runs already: each run is a task on any of its machines.

    Every machine needs the same version of this package, and the current folder and the study's folder
    at the same paths, on a shared disk. A run asks Ray for `study.cores_each` CPUs; without that, for as
    many as the smallest machine has, or for one if it asks for GPUs.

    Args:
      address: of the cluster, `"host:port"`, or `"auto"` on one of its machines. None for the variable
        RAY_ADDRESS, and without it for `"auto"`.
      gpus_each: the number of GPUs of each run; below 1 for several runs on one.
      most_at_once: the number of runs that Ray is given at a time; None for as many as the cluster has
        room for. More than that lets a cluster grow that adds machines on demand.
      max_retries: how often Ray starts a run again, which then resumes, after its machine or its worker
        was lost.
    """

    def __init__(
        self,
        address: str | None = None,
        gpus_each: float = 0,
        most_at_once: int | None = None,
        max_retries: int = 3,
    ) -> None:
        if address is not None and (not isinstance(address, str) or address in ("", "local")):
            raise ValueError(
                f'`OnRay.address` must be "host:port" or "auto", got {address!r}; for this machine alone use '
                "`study.place = @Here()`"
            )
        if most_at_once is not None:
            validation.positive_integer("OnRay.most_at_once", most_at_once)
        self._address = address
        self._gpus_each = validation.non_negative_number("OnRay.gpus_each", gpus_each)
        self._most_at_once = most_at_once
        self._max_retries = validation.non_negative_integer("OnRay.max_retries", max_retries)

    def carry_out(
        self,
        jobs: Iterator[Job],
        cores_each: int | None,
        stop_request: StopRequest,
        watch: Callable[[Sequence[Job]], Collection[Job]],
    ) -> Iterator[JobEnd]:
        """Carries out jobs; see `Place`."""
        # Ray is not part of every installation, and takes a second to import.
        from vaeflow.clusters import ray_connection

        address = self._address or os.environ.get("RAY_ADDRESS") or "auto"
        setting = f"`OnRay.address` = {address!r}"
        with (
            ray_connection.connected(address, setting, "use `study.place = @Here()`"),
            stop_request.listening(STOP_NOTICE),  # Ray has taken the signals for itself.
        ):
            cpus = cores_each or (1 if self._gpus_each else _cpus_of_smallest())
            tasks = _Tasks(cpus, self._gpus_each, cores_each, self._max_retries)
            yield from tasks.carry_out(jobs, self._most_at_once, stop_request, watch)


class _Tasks:
    """Jobs as tasks of the cluster that this process is connected to.

    Args:
      cpus, gpus: what each task asks Ray for.
      cores_each: the CPU cores that each job may use; None for all of its machine.
      max_retries: see `OnRay`.
    """

    def __init__(self, cpus: float, gpus: float, cores_each: int | None, max_retries: int) -> None:
        import ray

        self._ray = ray
        self._cpus, self._gpus = cpus, gpus
        self._max_retries = max_retries
        self._cores_each = cores_each
        remote = ray.remote(ray_task.carry_out)
        self._task = remote.options(num_cpus=cpus, num_gpus=gpus, max_retries=max_retries)
        self._jobs: dict[Any, Job] = {}
        self._cancelled: set[Any] = set()
        self._marker: pathlib.Path | None = None

    def carry_out(
        self,
        jobs: Iterator[Job],
        most_at_once: int | None,
        stop_request: StopRequest,
        watch: Callable[[Sequence[Job]], Collection[Job]],
    ) -> Iterator[JobEnd]:
        """Carries out jobs; see `Place` and `OnRay`."""
        looked_at, room = -math.inf, 0
        with ending.cleaned_up(self._remove_marker):
            while True:
                if is_time := time.monotonic() - looked_at >= _LOOK_SECONDS:
                    looked_at, room = time.monotonic(), most_at_once or self._room()
                while len(self._jobs) < room and not stop_request.name and (job := next(jobs, None)):
                    self._jobs[self._submitted(job)] = job
                if not self._jobs:
                    return
                ended, _ = self._ray.wait(list(self._jobs), timeout=_POLL_SECONDS)
                for task in ended:
                    yield self._end(task, self._jobs.pop(task))
                if stop_request.name:
                    self._cancel(list(self._jobs.values()))
                elif is_time:
                    self._cancel(watch(list(self._jobs.values())))

    def _submitted(self, job: Job) -> Any:
        if self._marker is None:
            self._marker = pathlib.Path(job.log).absolute().parent / f".ray-{secrets.token_hex(8)}"
            files.write_text(self._marker, "A study on Ray looks for this file on each machine.\n")
        return self._task.remote(job, str(pathlib.Path.cwd()), str(self._marker), self._cores_each)

    def _remove_marker(self) -> None:
        if self._marker is not None:
            self._marker.unlink(missing_ok=True)

    def _cancel(self, unwanted: Collection[Job]) -> None:
        """Interrupts tasks, each once, so that their runs save the state and end."""
        for task, job in self._jobs.items():
            if task not in self._cancelled and job in unwanted:
                self._cancelled.add(task)
                self._ray.cancel(task)

    def _end(self, task: Any, job: Job) -> JobEnd:
        from ray.exceptions import RayError, RayTaskError, TaskCancelledError

        end = functools.partial(JobEnd, job, seconds=0.0)
        try:
            ended: JobEnd = self._ray.get([task])[0]
            return dataclasses.replace(ended, job=job)
        except TaskCancelledError:
            return end(Preempted.exit_code, _NOT_STARTED)
        except RayTaskError as error:
            if isinstance(error.cause, KeyboardInterrupt):
                return end(Preempted.exit_code, _NOT_STARTED)
            if isinstance(error.cause, RunError):
                return end(error.cause.exit_code, str(error.cause))
            raise
        except RayError as error:
            reason = (str(error).strip() or repr(error)).splitlines()[0]
            return end(
                EnvironmentFailure.exit_code,
                f"its machine or its worker was lost, after {self._max_retries} retries: {reason}",
            )

    def _room(self) -> int:
        """Returns how many tasks the cluster has room for; 1 where that is none, since it may grow."""
        wanted = {"CPU": self._cpus, "GPU": self._gpus}
        room = sum(
            int(min(machine.get(name, 0) / count for name, count in wanted.items() if count))
            for machine in _machines()
        )
        if not room:
            logging.log_every_n_seconds(
                logging.WARNING,
                "no machine of the Ray cluster has %g CPUs and %g GPUs for a run; waiting for one",
                _WARNING_SECONDS,
                self._cpus,
                self._gpus,
            )
        return max(1, room)


def _cpus_of_smallest() -> int:
    """Returns the number of CPUs of the smallest machine that has any; 1 where none has."""
    return min((int(machine["CPU"]) for machine in _machines() if machine.get("CPU", 0) >= 1), default=1)


def _machines() -> list[dict[str, float]]:
    """Lists the resources of the machines that belong to the cluster now."""
    import ray

    return [node["Resources"] for node in ray.nodes() if node["Alive"]]
