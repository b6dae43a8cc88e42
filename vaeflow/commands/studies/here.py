"""The runs of a study on this machine."""

import contextlib
import dataclasses
import os
import time
from collections.abc import Callable, Collection, Iterator, Sequence

from vaeflow import registry, validation
from vaeflow.clusters import local
from vaeflow.commands.studies.place import Job, JobEnd, Place
from vaeflow.commands.studies.running import RunningJob
from vaeflow.errors import ConfigurationError
from vaeflow.runs.signals import StopRequest

_POLL_SECONDS = 0.05
_WATCH_SECONDS = 1.0


@dataclasses.dataclass(frozen=True)
class _Seat:
    """What one run gets of the machine.

    Attributes:
      environment: variables that name its GPU; empty without GPUs.
      cores: the numbers of its CPU cores; None for all.
    """

    environment: dict[str, str]
    cores: tuple[int, ...] | None


@registry.place
class Here(Place):
    """This machine: a run on each GPU, or with `study.cores_each` on so many CPU cores each; else one run.

    Args:
      most_at_once: the largest number of runs at a time, as the memory may allow fewer than there are
        GPUs or cores; None for no limit.
    """

    def __init__(self, most_at_once: int | None = None) -> None:
        if most_at_once is not None:
            validation.positive_integer("Here.most_at_once", most_at_once)
        self._most_at_once = most_at_once

    def carry_out(
        self,
        jobs: Iterator[Job],
        cores_each: int | None,
        stop_request: StopRequest,
        watch: Callable[[Sequence[Job]], Collection[Job]],
    ) -> Iterator[JobEnd]:
        """Carries out jobs; see `Place`."""
        free = _seats(cores_each)[: self._most_at_once]
        running: list[tuple[RunningJob, _Seat]] = []
        watched_at = -_WATCH_SECONDS
        with contextlib.ExitStack() as stack:
            while True:
                while free and not stop_request.name and (job := next(jobs, None)) is not None:
                    seat = free.pop(0)
                    started = RunningJob(job, seat.environment, seat.cores)
                    stack.callback(started.close)
                    running.append((started, seat))
                if not running:
                    return
                for pair in list(running):
                    if (end := pair[0].poll()) is not None:
                        running.remove(pair)
                        free.append(pair[1])
                        yield end
                if stop_request.name:
                    for each, _ in running:
                        each.stop()
                elif time.monotonic() - watched_at >= _WATCH_SECONDS:
                    watched_at = time.monotonic()
                    unwanted = watch([each.job for each, _ in running])
                    for each, _ in running:
                        if each.job in unwanted:
                            each.stop()
                time.sleep(_POLL_SECONDS)


def _seats(cores_each: int | None) -> list[_Seat]:
    """Shares out this machine's GPUs and cores; the first runs get the first.

    Raises:
      ConfigurationError: there are fewer cores than one run is to have.
    """
    gpus = local.visible_gpus()
    environments = [{"CUDA_VISIBLE_DEVICES": gpu} for gpu in gpus]
    if cores_each is None:
        return [_Seat(environment, None) for environment in environments or [{}]]
    cores = sorted(os.sched_getaffinity(0))
    shares = [tuple(cores[at : at + cores_each]) for at in range(0, len(cores) - cores_each + 1, cores_each)]
    if not shares:
        raise ConfigurationError(
            f"`study.cores_each` must be at most the number of cores here, {len(cores)}, got {cores_each}"
        )
    # Without GPUs each share is a seat; otherwise there are no more than the scarcer of the two.
    return [_Seat(*pair) for pair in zip(environments or [{}] * len(shares), shares, strict=False)]
