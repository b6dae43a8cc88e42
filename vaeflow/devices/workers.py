"""The workers of a run, read from `TF_CONFIG` or from Slurm's environment."""

import collections
import dataclasses
import json
import os
import re
import socket
from collections.abc import Mapping
from typing import Any, TypeGuard

from vaeflow.devices import slurm
from vaeflow.errors import ConfigurationError, EnvironmentFailure

_EXAMPLE = (
    '{"cluster": {"worker": ["host0:2222", "host1:2222"]}, "task": {"type": "worker", "index": 0}}; '
    "for one process unset TF_CONFIG"
)
_ADDRESS = re.compile(r"(?:\[[0-9a-fA-F:.]+\]|[^\s:/\[\]]+):(?P<port>[0-9]{1,5})")


@dataclasses.dataclass(frozen=True)
class Workers:
    """The workers of a run, in the same order for all of them.

    Attributes:
      addresses: the `"host:port"` of each worker.
      index: the index of this process.
    """

    addresses: tuple[str, ...]
    index: int

    @property
    def size(self) -> int:
        """The number of workers."""
        return len(self.addresses)

    @property
    def is_chief(self) -> bool:
        """Whether this worker is the one that writes files."""
        return self.index == 0

    def describe(self, index: int) -> str:
        """Names a worker in messages: `worker 1 (host:port)`."""
        return f"worker {index} ({self.addresses[index]})"


def find_workers(environ: Mapping[str, str] = os.environ) -> Workers | None:
    """Finds the workers of this run in `TF_CONFIG`, or else in the variables of Slurm's `srun`.

    Args:
      environ: the environment variables.

    Returns:
      A `Workers`; None if this process is the only worker.

    Raises:
      ConfigurationError: the environment contradicts itself, or names tasks that are not
        workers.
    """
    if environ.get("TF_CONFIG"):
        found = _from_tf_config(environ["TF_CONFIG"])
    elif slurm.in_a_step_of_several(environ):
        found = Workers(*slurm.find_step(environ))
    else:
        return None
    return found if found is not None and found.size > 1 else None


def check_port(workers: Workers) -> None:
    """Checks that this worker's port is free. If it is not, TensorFlow waits without end.

    Raises:
      EnvironmentFailure: another process uses the port.
    """
    address = workers.addresses[workers.index]
    try:
        # On all interfaces, as TensorFlow opens it.
        socket.create_server(("", int(address.rpartition(":")[2]))).close()
    except OSError as error:
        raise EnvironmentFailure(
            f"the port of {workers.describe(workers.index)} cannot be opened ({error.strerror}); choose "
            "another in TF_CONFIG, or end the process that uses it"
        ) from error


def to_tf_config(workers: Workers) -> str:
    """Returns the value of `TF_CONFIG` for the workers."""
    return json.dumps(
        {"cluster": {"worker": list(workers.addresses)}, "task": {"type": "worker", "index": workers.index}}
    )


def _from_tf_config(text: str) -> Workers | None:
    try:
        content: object = json.loads(text)
    except ValueError as error:
        raise _bad_tf_config(f"it is not JSON ({error})", text) from error
    except RecursionError as error:
        raise _bad_tf_config("it is nested too deep", text) from error
    try:
        return _from_json(content, text)
    except RecursionError as error:  # Of a message that would show a part of it.
        raise _bad_tf_config("it is nested too deep", text) from error


def _from_json(content: object, text: str) -> Workers | None:
    if not _is_object(content) or not _is_object(content.get("cluster", {})):
        raise _bad_tf_config('it has no "cluster" that lists the addresses of the workers', text)
    jobs: dict[str, Any] = content.get("cluster", {})
    if not jobs:
        return None  # As TensorFlow reads it: one process, which may have a task.
    task: Any = content.get("task")
    if unknown := jobs.keys() - {"chief", "worker"}:
        kinds = ", ".join(sorted(unknown))
        raise _bad_tf_config(f'the cluster has tasks of type {kinds}; only "worker" and "chief" train', text)
    for kind, addresses in jobs.items():
        if not _is_address_list(addresses):
            shown = slurm.shortened(json.dumps(addresses))
            raise _bad_tf_config(f'"{kind}" must be a list of "host:port", got {shown}', text)
    workers: list[str] = [*jobs.get("chief", []), *jobs.get("worker", [])]
    slurm.check_number("TF_CONFIG", text, len(workers))
    counted = collections.Counter(workers)
    if repeated := sorted(address for address, count in counted.items() if count > 1):
        raise _bad_tf_config(f"several workers have the address {slurm.some(repeated)}", text)
    return Workers(tuple(workers), _task_index(jobs, task, text))


def _task_index(jobs: dict[str, Any], task: Any, text: str) -> int:
    """Returns the index of this task among all: the chief first, then the workers."""
    if not _is_object(task) or not task.keys() >= {"type", "index"}:
        raise _bad_tf_config('it has no "task" with "type" and "index"', text)
    kind, index = task["type"], task["index"]
    if not isinstance(kind, str) or kind not in jobs:
        shown = slurm.shortened(json.dumps(kind))
        raise _bad_tf_config(f"the task's type is {shown}, which the cluster does not have", text)
    number = json.dumps(index).strip('"')
    if not re.fullmatch("[0-9]{1,9}", number) or int(number) >= len(jobs[kind]):
        last, shown = len(jobs[kind]) - 1, slurm.shortened(json.dumps(index))
        raise _bad_tf_config(f"the task's index must be 0 to {last}, got {shown}", text)
    return int(number) + (len(jobs.get("chief", [])) if kind == "worker" else 0)


def _is_object(value: object) -> TypeGuard[dict[str, Any]]:
    """Whether a value from JSON is an object."""
    return isinstance(value, dict)


def _is_list(value: object) -> TypeGuard[list[Any]]:
    """Whether a value from JSON is an array."""
    return isinstance(value, list)


def _is_address_list(value: object) -> bool:
    return _is_list(value) and value != [] and all(map(_is_address, value))


def _is_address(value: object) -> bool:
    match = _ADDRESS.fullmatch(value) if isinstance(value, str) else None
    return match is not None and 0 < int(match["port"]) < 65536


def _bad_tf_config(problem: str, text: str) -> ConfigurationError:
    return ConfigurationError(
        f"TF_CONFIG is wrong: {problem}. It is {slurm.shortened(text)!r}; a valid one: {_EXAMPLE}"
    )
