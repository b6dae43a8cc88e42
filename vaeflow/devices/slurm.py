"""Slurm's environment: the workers that `srun` started, in Slurm's own short forms."""

import itertools
import math
import re
from collections.abc import Iterator, Mapping, Sequence

from vaeflow.errors import ConfigurationError

# Linux takes the ports of outgoing connections from 32768 up; these lie below. Each job step
# has a slot of 16 ports, so that consecutive steps do not collide on a machine.
_FIRST_PORT = 20000
_PORTS_OF_A_STEP = 16
_SLOTS = 750

# More than any cluster has; the environment could name more than fit into memory.
_MOST_WORKERS = 10_000
_MOST_NAMED = 10
_SHOWN = 200

# Slurm's step numbers from here on are not of `srun`: the batch script, an interactive shell.
_FIRST_SPECIAL_STEP = 0xFFFFFFF0


def expand_hosts(hostlist: str) -> list[str]:
    """Lists the hosts of Slurm's short form: `gpu[01-03,7],login1` → gpu01, gpu02, gpu03, gpu7, login1.

    Raises:
      ConfigurationError: the text is not of this form.
    """
    hosts: list[str] = []
    parts = re.findall(r"(?:[^,:/\s\[\]]|\[[^\[\]]*\])+", hostlist)
    if not parts or ",".join(parts) != hostlist:
        raise _unreadable_hosts(hostlist)
    for part in parts:
        # Text and brackets alternate: `rack[0-1]node[0-3]` is eight hosts.
        choices = [
            list(_expand_numbers(piece, hostlist)) if position % 2 else [piece]
            for position, piece in enumerate(re.split(r"\[([^\[\]]*)\]", part))
        ]
        check_number("SLURM_STEP_NODELIST", hostlist, len(hosts) + math.prod(map(len, choices)))
        hosts += ["".join(chosen) for chosen in itertools.product(*choices)]
    return hosts


def expand_counts(counts: str) -> list[int]:
    """Lists the tasks per node of Slurm's short form: `2(x3),1` → 2, 2, 2, 1.

    Raises:
      ConfigurationError: the text is not of this form.
    """
    numbers: list[int] = []
    for part in counts.split(","):
        match = re.fullmatch(r"([0-9]{1,9})(?:\(x([0-9]{1,9})\))?", part)
        if match is None:
            raise _unreadable("SLURM_STEP_TASKS_PER_NODE", counts, "2(x3),1")
        check_number("SLURM_STEP_TASKS_PER_NODE", counts, len(numbers) + int(match[2] or 1))
        numbers += [int(match[1])] * int(match[2] or 1)
    check_number("SLURM_STEP_TASKS_PER_NODE", counts, sum(numbers))
    return numbers


def in_a_step_of_several(environ: Mapping[str, str]) -> bool:
    """Whether `srun` started this process as one of several.

    The batch script of an allocation for several tasks is a single process and not in a step.
    """
    if not environ.get("SLURM_STEP_ID") or _slurm_number(environ, "STEP_ID") >= _FIRST_SPECIAL_STEP:
        return False
    return _slurm_number(environ, "STEP_NUM_TASKS", "NTASKS") > 1


def find_step(environ: Mapping[str, str]) -> tuple[tuple[str, ...], int]:
    """Reads the step of `srun` that this process belongs to.

    Returns:
      The `"host:port"` of each task, and the number of this one.

    Raises:
      ConfigurationError: the variables are unreadable, or contradict one another.
    """
    hosts = expand_hosts(_slurm(environ, "STEP_NODELIST", "JOB_NODELIST"))
    counts = expand_counts(_slurm(environ, "STEP_TASKS_PER_NODE", "TASKS_PER_NODE"))
    num_tasks = _slurm_number(environ, "STEP_NUM_TASKS", "NTASKS")
    rank = _slurm_number(environ, "PROCID")
    fits = len(hosts) == len(counts) and sum(counts) == num_tasks and rank < num_tasks
    if not fits or len(set(hosts)) < len(hosts):
        raise ConfigurationError(
            f"Slurm's environment contradicts itself: {len(hosts)} hosts ({some(hosts)}), "
            f"[{some(counts)}] tasks on them, {num_tasks} tasks in total, of which this is number {rank}; "
            "start the workers with `srun vaeflow train …`"
        )
    # Tasks are numbered in the order of the hosts: task 0 is on the first.
    places = [(host, local) for host, count in zip(hosts, counts, strict=True) for local in range(count)]
    local = str(places[rank][1])
    if environ.get("SLURM_LOCALID", local) != local:
        raise ConfigurationError(
            f"Slurm's task {rank} is number {shortened(environ['SLURM_LOCALID'])!r} on its host; it would be "
            f"number {local} if tasks filled one host after another; use `srun --distribution=block`"
        )
    slot = _slurm_number(environ, "JOB_ID") + _slurm_number(environ, "STEP_ID")
    port = _FIRST_PORT + _PORTS_OF_A_STEP * (slot % _SLOTS)
    return tuple(f"{host}:{port + number}" for host, number in places), rank


def _expand_numbers(ranges: str, hostlist: str) -> Iterator[str]:
    """Yields `01-03,7` as 01, 02, 03, 7: numbers with as many digits as the first of their range."""
    count = 0
    for part in ranges.split(","):
        match = re.fullmatch(r"([0-9]{1,18})(?:-([0-9]{1,18}))?", part)
        if match is None or int(match[2] or match[1]) < int(match[1]):
            raise _unreadable_hosts(hostlist)
        first, last = int(match[1]), int(match[2] or match[1])
        count += last - first + 1
        check_number("SLURM_STEP_NODELIST", hostlist, count)
        for number in range(first, last + 1):
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
    if not re.fullmatch("[0-9]{1,18}", value):
        raise _unreadable(f"SLURM_{names[0]}", value, "4")
    return int(value)


def _unreadable(name: str, value: str, example: str) -> ConfigurationError:
    return ConfigurationError(f"{name} is {shortened(value)!r}, which is not of the form {example}")


def _unreadable_hosts(hostlist: str) -> ConfigurationError:
    return _unreadable("SLURM_STEP_NODELIST", hostlist, "gpu[01-03,7],login1")


def check_number(name: str, value: str, number: int) -> None:
    """Refuses a variable of the environment that names more workers than any cluster has."""
    if number > _MOST_WORKERS:
        raise ConfigurationError(
            f"{name} is {shortened(value)!r}, which names more than {_MOST_WORKERS:,} workers; is it meant?"
        )


def shortened(text: str) -> str:
    """Returns a text for a message, without its end if it is long."""
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


def some(values: Sequence[object]) -> str:
    """Lists the first of some values."""
    listed = ", ".join(map(str, values[:_MOST_NAMED])) + (", …" if len(values) > _MOST_NAMED else "")
    return shortened(listed)
