"""Tunes the C library's allocator, which decides how fast TensorFlow trains on CPU."""

import contextlib
import os
import sys
from collections.abc import Mapping

_VARIABLE = "GLIBC_TUNABLES"
_TUNABLES = {
    # Keep big buffers. glibc returns them to the kernel when they are freed, and the next
    # step pays for their page faults again: half the time of a step.
    "glibc.malloc.mmap_threshold": 32 << 20,
    "glibc.malloc.trim_threshold": 2**31 - 1,
    "glibc.malloc.top_pad": 256 << 20,
    # Put them into pages of 2 MiB, if the kernel gives some to those who ask (and glibc is
    # 2.35 or later): with pages of 4 KiB a step takes 3 to 10 % longer.
    "glibc.malloc.hugetlb": 1,
}


def tuned(environment: Mapping[str, str]) -> dict[str, str]:
    """Adds the tuned allocator to an environment; tunables that are set already stay.

    Args:
      environment: the variables.

    Returns:
      A new dict. On a system without glibc it changes nothing for the programs.
    """
    theirs = dict(item.split("=", 1) for item in environment.get(_VARIABLE, "").split(":") if "=" in item)
    tunables = ":".join(f"{name}={value}" for name, value in (_TUNABLES | theirs).items())
    return dict(environment) | {_VARIABLE: tunables}


def restart_tuned() -> None:
    """Re-executes this program with the tuned allocator; see `restart`."""
    restart(tuned(os.environ))


def restart(environment: Mapping[str, str]) -> None:
    """Re-executes this program with other variables, in the same process, unless it has them already.

    glibc and Python read some of them only when a program starts. Call this before anything
    else, since the program starts from the beginning. It does nothing on systems other than
    Linux, or when the command line of the process belongs to another program.

    Args:
      environment: all variables.
    """
    if sys.platform.startswith("linux") and environment != dict(os.environ) and _runs_by_itself():
        with contextlib.suppress(OSError):
            os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], environment)


def _runs_by_itself():
    """Whether the command line is this program's own, and not that of a program which runs it."""
    module = sys.modules["__main__"].__spec__
    # `python -m package` runs `package.__main__`.
    program = sys.argv[0] if module is None else module.name.removesuffix(".__main__")
    return sys.orig_argv[-len(sys.argv) :] == [program, *sys.argv[1:]]
