"""The workers of a run, read from `TF_CONFIG` or from Slurm's environment."""

import dataclasses
import itertools
import json
import os
import re
import socket
from collections.abc import Iterator, Mapping
from typing import Any, TypeGuard

from vaeflow.errors import ConfigurationError, EnvironmentFailure

_EXAMPLE = (
    '{"cluster": {"worker": ["host0:2222", "host1:2222"]}, "task": {"type": "worker", "index": 0}}; '
    "for one process unset TF_CONFIG"
)
_ADDRESS = re.compile(r"(?:\[[0-9a-fA-F:.]+\]|[^\s:/\[\]]+):(?P<port>[0-9]{1,5})")

# Linux takes the ports of outgoing connections from 32768 up; these lie below. Each job step
# has a slot of 16 ports, so that consecutive steps do not collide on a machine.
_FIRST_PORT = 20000
_PORTS_OF_A_STEP = 16
_SLOTS = 750

# Slurm's step numbers from here on are not of `srun`: the batch script, an interactive shell.
_FIRST_SPECIAL_STEP = 0xFFFFFFF0


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
    elif _in_a_step_of_several(environ):
        found = _from_slurm(environ)
    else:
        return None
    return found if found.size > 1 else None


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


def expand_hosts(hostlist: str) -> list[str]:
    """Lists the hosts of Slurm's short form: `gpu[01-03,7],login1` → gpu01, gpu02, gpu03, gpu7, login1.

    Raises:
      ConfigurationError: the text is not of this form.
    """
    hosts: list[str] = []
    for part in re.split(r",(?![^\[]*\])", hostlist):
        # Text and brackets alternate: `rack[0-1]node[0-3]` is eight hosts.
        pieces = re.split(r"\[([^\[\]]*)\]", part)
        if not part or any(set("[]") & set(text) for text in pieces[::2]):
            raise _unreadable("SLURM_STEP_NODELIST", hostlist, "gpu[01-03,7],login1")
        choices = [
            list(_expand_numbers(piece, hostlist)) if position % 2 else [piece]
            for position, piece in enumerate(pieces)
        ]
        hosts += ["".join(chosen) for chosen in itertools.product(*choices)]
    return hosts


def expand_counts(counts: str) -> list[int]:
    """Lists the tasks per node of Slurm's short form: `2(x3),1` → 2, 2, 2, 1.

    Raises:
      ConfigurationError: the text is not of this form.
    """
    numbers: list[int] = []
    for part in counts.split(","):
        match = re.fullmatch(r"([0-9]+)(?:\(x([0-9]+)\))?", part)
        if match is None:
            raise _unreadable("SLURM_STEP_TASKS_PER_NODE", counts, "2(x3),1")
        numbers += [int(match[1])] * int(match[2] or 1)
    return numbers


def _from_tf_config(text: str) -> Workers:
    try:
        content: object = json.loads(text)
    except ValueError as error:
        raise _bad_tf_config(f"it is not JSON ({error})", text) from error
    if not _is_object(content) or not _is_object(content.get("cluster")):
        raise _bad_tf_config('it has no "cluster" that lists the addresses of the workers', text)
    jobs: dict[str, Any] = content["cluster"]
    task: Any = content.get("task")
    if unknown := jobs.keys() - {"chief", "worker"}:
        kinds = ", ".join(sorted(unknown))
        raise _bad_tf_config(f'the cluster has tasks of type {kinds}; only "worker" and "chief" train', text)
    for kind, addresses in jobs.items():
        if not _is_address_list(addresses):
            raise _bad_tf_config(f'"{kind}" must be a list of "host:port", got {json.dumps(addresses)}', text)
    workers: list[str] = [*jobs.get("chief", []), *jobs.get("worker", [])]
    if repeated := sorted({address for address in workers if workers.count(address) > 1}):
        raise _bad_tf_config(f"several workers have the address {', '.join(repeated)}", text)
    return Workers(tuple(workers), _task_index(jobs, task, text))


def _task_index(jobs: dict[str, Any], task: Any, text: str) -> int:
    """Returns the index of this task among all: the chief first, then the workers."""
    if not _is_object(task) or task.keys() < {"type", "index"}:
        raise _bad_tf_config('it has no "task" with "type" and "index"', text)
    kind, index = task["type"], task["index"]
    if not isinstance(kind, str) or kind not in jobs:
        raise _bad_tf_config(f"the task's type is {json.dumps(kind)}, which the cluster does not have", text)
    if isinstance(index, bool) or not re.fullmatch("[0-9]+", str(index)) or int(index) >= len(jobs[kind]):
        last = len(jobs[kind]) - 1
        raise _bad_tf_config(f"the task's index must be 0 to {last}, got {json.dumps(index)}", text)
    return int(index) + (len(jobs.get("chief", [])) if kind == "worker" else 0)


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
    return ConfigurationError(f"TF_CONFIG is wrong: {problem}. It is {text!r}; a valid one: {_EXAMPLE}")


def _in_a_step_of_several(environ: Mapping[str, str]) -> bool:
    """Whether `srun` started this process as one of several.

    The batch script of an allocation for several tasks is a single process and not in a step.
    """
    if not environ.get("SLURM_STEP_ID") or _slurm_number(environ, "STEP_ID") >= _FIRST_SPECIAL_STEP:
        return False
    return _slurm_number(environ, "STEP_NUM_TASKS", "NTASKS") > 1


def _from_slurm(environ: Mapping[str, str]) -> Workers:
    hosts = expand_hosts(_slurm(environ, "STEP_NODELIST", "JOB_NODELIST"))
    counts = expand_counts(_slurm(environ, "STEP_TASKS_PER_NODE", "TASKS_PER_NODE"))
    num_tasks = _slurm_number(environ, "STEP_NUM_TASKS", "NTASKS")
    rank = _slurm_number(environ, "PROCID")
    if len(hosts) != len(counts) or sum(counts) != num_tasks or rank >= num_tasks:
        raise ConfigurationError(
            f"Slurm's environment contradicts itself: {len(hosts)} hosts ({', '.join(hosts)}), "
            f"{counts} tasks on them, {num_tasks} tasks in total, of which this is number {rank}; "
            "start the workers with `srun vaeflow train …`"
        )
    # Tasks are numbered in the order of the hosts: task 0 is on the first.
    places = [(host, local) for host, count in zip(hosts, counts, strict=True) for local in range(count)]
    if environ.get("SLURM_LOCALID", str(places[rank][1])) != str(places[rank][1]):
        raise ConfigurationError(
            f"Slurm's task {rank} is number {environ['SLURM_LOCALID']} on its host; it would be number "
            f"{places[rank][1]} if tasks filled one host after another; use `srun --distribution=block`"
        )
    slot = _slurm_number(environ, "JOB_ID") + _slurm_number(environ, "STEP_ID")
    port = _FIRST_PORT + _PORTS_OF_A_STEP * (slot % _SLOTS)
    return Workers(tuple(f"{host}:{port + local}" for host, local in places), rank)


def _expand_numbers(ranges: str, hostlist: str) -> Iterator[str]:
    """Yields `01-03,7` as 01, 02, 03, 7: numbers with as many digits as the first of their range."""
    for part in ranges.split(","):
        match = re.fullmatch(r"([0-9]+)(?:-([0-9]+))?", part)
        if match is None or int(match[2] or match[1]) < int(match[1]):
            raise _unreadable("SLURM_STEP_NODELIST", hostlist, "gpu[01-03,7],login1")
        for number in range(int(match[1]), int(match[2] or match[1]) + 1):
            yield str(number).zfill(len(match[1]))


def _slurm(environ: Mapping[str, str], *names: str) -> str:
    """Returns the first of some of Slurm's variables that is set."""
    for name in names:
        if value := environ.get(f"SLURM_{name}"):
            return value
    raise ConfigurationError(
        f"SLURM_STEP_ID is set, but SLURM_{names[0]} is not; start the workers with "
        "`srun vaeflow train …`, or unset SLURM_STEP_ID for one process"
    )


def _slurm_number(environ: Mapping[str, str], *names: str) -> int:
    value = _slurm(environ, *names)
    if not re.fullmatch("[0-9]+", value):
        raise _unreadable(f"SLURM_{names[0]}", value, "4")
    return int(value)


def _unreadable(name: str, value: str, example: str) -> ConfigurationError:
    return ConfigurationError(f"{name} is {value!r}, which is not of the form {example}")
