"""Independent computations in several processes, with the same numbers for any number of these."""

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

from vaeflow.runs import processes, watchdog

Result = TypeVar("Result")


def map_jobs(
    function: Callable[..., Result], jobs: Sequence[tuple[Any, ...]], num_processes: int, doing: str
) -> list[Result]:
    """Calls a function with the arguments of each job, in this process or in several others.

    The libraries of linear algebra use one thread in each: another number would sum in another order.
    The processes stay for the next call; those that the command leaves end with it.

    Args:
      function: of a module that a fresh process can import, preferably without TensorFlow. What it draws
        it must draw from its arguments.
      jobs: the arguments of each call.
      num_processes: at most so many; 1 for none but this.
      doing: says what is done to the watchdog, e.g. `"the score SAP"`.

    Returns:
      What the function returned for each job, in their order.
    """
    import joblib

    num_processes = min(num_processes, len(jobs))
    if num_processes < 2:
        calls: Any = (_alone(function, job) for job in jobs)
        return list(_watched(calls, doing, len(jobs)))
    workers = joblib.parallel_config(
        "loky",
        n_jobs=num_processes,
        inner_max_num_threads=1,
        initializer=processes.die_with_parent,
        initargs=(os.getpid(),),
    )
    with _nothing_from_the_current_folder(), workers:
        # Arrays are sent, never written to a temporary file.
        parallel = joblib.Parallel(return_as="generator", max_nbytes=None)
        calls = parallel(joblib.delayed(_alone)(function, job) for job in jobs)
        return list(_watched(calls, doing, len(jobs)))


def _alone(function: Callable[..., Result], job: tuple[Any, ...]) -> Result:
    """Calls a function with one thread for each library."""
    import threadpoolctl

    with threadpoolctl.threadpool_limits(1):
        return function(*job)


def _watched(results: Iterator[Result], doing: str, count: int) -> Iterator[Result]:
    for number, result in enumerate(results):
        watchdog.progress(f"{doing}, {number + 1} of {count} parts done")
        yield result


@contextlib.contextmanager
def _nothing_from_the_current_folder() -> Iterator[None]:
    """Keeps the current folder off the path of new interpreters, which joblib starts with `python -m`."""
    before = os.environ.get("PYTHONSAFEPATH")
    os.environ["PYTHONSAFEPATH"] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ["PYTHONSAFEPATH"]
        else:
            os.environ["PYTHONSAFEPATH"] = before
