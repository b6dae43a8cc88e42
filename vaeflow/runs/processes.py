"""The one way to start another process: it never outlives this one."""

import contextlib
import ctypes
import functools
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Generator, Mapping, Sequence
from typing import Any

from vaeflow.runs import ending

_SET_DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG
_KEEPER = """
import os, signal, sys
sys.stdin.buffer.read()
for group in map(int, sys.argv[1:]):
    try:
        os.killpg(group, signal.SIGKILL)
    except ProcessLookupError:
        pass
"""


@contextlib.contextmanager
def child(command: Sequence[str], **options: Any) -> Generator[subprocess.Popen]:
    """Runs a process while the block runs; it is killed when the block ends or this process does.

    Call it in a thread that lives as long as the child: the kernel kills the child when the
    thread that started it is gone.

    Args:
      command: what to run, without a shell.
      **options: as for `subprocess.Popen`; with `process_group=0` the processes that the child
        starts are killed with it. It reads nothing, unless `stdin` is given.
    """
    options = {"stdin": subprocess.DEVNULL, "preexec_fn": _die_with(os.getpid())} | options
    whole_group = options.get("process_group") == 0
    with contextlib.ExitStack() as stack:
        with ending.held_off():
            process = stack.enter_context(subprocess.Popen(command, **options))
            stack.enter_context(ending.cleaned_up(functools.partial(kill, process, whole_group)))
        yield process


def kill(process: subprocess.Popen, whole_group: bool = False) -> None:
    """Kills a child that still runs; does not wait for its end, since another thread may.

    Args:
      process: the child.
      whole_group: True to kill its process group, of which it is the leader. What a dead
        leader has left behind is found only as long as nobody has asked for its exit code.
    """
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            (os.killpg if whole_group else os.kill)(process.pid, signal.SIGKILL)


def exit_code(process: subprocess.Popen) -> int | None:
    """Returns the exit code of a child that leads a process group, −n for signal n; None while it runs.

    What it has left behind in its group is killed before the system may give its number to
    another process.
    """
    if process.returncode is None and os.waitid(os.P_PID, process.pid, _HAS_ENDED) is not None:
        kill(process, whole_group=True)
        process.wait()
    return process.returncode


_HAS_ENDED = os.WEXITED | os.WNOHANG | os.WNOWAIT


@contextlib.contextmanager
def groups_end_with_us(leaders: Sequence[int]) -> Generator[None]:
    """Kills whole process groups if this process dies inside, however it dies.

    The kernel kills the children of a dead process, but not their children. So a small process
    waits for the end of a pipe of ours.

    Args:
      leaders: the process ids of the groups' leaders.
    """
    command = [sys.executable, "-I", "-S", "-c", _KEEPER, *map(str, leaders)]
    keeper = subprocess.Popen(command, stdin=subprocess.PIPE, process_group=0)
    with keeper:
        try:
            yield
        finally:
            keeper.kill()  # Before its pipe is closed.


def output(
    command: Sequence[str], seconds: float = 30.0, environment: Mapping[str, str] | None = None
) -> str | None:
    """Returns what a program prints to stdout; None if there is no such program, or it fails.

    Args:
      command: the program and its arguments.
      seconds: how long it may take.
      environment: its variables; None for those of this process.
    """
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL, "text": True}
    pipes["env"] = environment
    try:
        with child(command, errors="replace", **pipes) as process:
            text, _ = process.communicate(timeout=seconds)
    except (OSError, subprocess.SubprocessError):
        return None
    return text if process.returncode == 0 else None


def die_with_parent(parent: int) -> None:
    """Lets the kernel kill this process when its parent does not live any more.

    Args:
      parent: the process id of the parent.
    """
    _die_with(parent)()


def _die_with(parent: int) -> Callable[[], None]:
    """Returns a `preexec_fn` that kills the child when its parent dies.

    Args:
      parent: the process id of the parent.
    """
    # Looked up here: between fork and exec, a lock that another thread of ours held is never free.
    prctl = ctypes.CDLL(None).prctl if sys.platform == "linux" else None

    def die_with_parent() -> None:
        if prctl is not None:
            prctl(_SET_DEATH_SIGNAL, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)

    return die_with_parent
