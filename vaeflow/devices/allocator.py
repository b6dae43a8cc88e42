"""Tunes the C library's allocator, which decides how fast TensorFlow trains on CPU."""

import contextlib
import os
import sys

_VARIABLE = "GLIBC_TUNABLES"
_TUNABLES = {
    # Big buffers are kept. glibc returns them to the kernel when they are freed, and the
    # next step pays for their page faults again: half the time of a step.
    "glibc.malloc.mmap_threshold": 32 << 20,
    "glibc.malloc.trim_threshold": 2**31 - 1,
    "glibc.malloc.top_pad": 256 << 20,
    # They lie in pages of 2 MiB, if the kernel has some for those who ask (and glibc is
    # 2.35 or later): with pages of 4 KiB a step takes 3 to 10 % longer.
    "glibc.malloc.hugetlb": 1,
}


def tuned(environment):
    """Adds the tuned allocator to an environment; what is tuned there already stays.

    Args:
      environment: a dict of variables.

    Returns:
      A new dict. Where there is no glibc its programs run as without.
    """
    theirs = dict(item.split("=", 1) for item in environment.get(_VARIABLE, "").split(":") if "=" in item)
    tunables = ":".join(f"{name}={value}" for name, value in (_TUNABLES | theirs).items())
    return dict(environment) | {_VARIABLE: tunables}


def restart_tuned():
    """Begins this program again with the tuned allocator, in the same process, if it has another.

    glibc reads its settings from the environment when a program begins. Call it before
    anything else: what has been done is forgotten. Elsewhere than on Linux, or where the
    program was not begun by its own command line, this does nothing.
    """
    environment = tuned(os.environ)
    if sys.platform.startswith("linux") and environment != dict(os.environ) and _runs_by_itself():
        with contextlib.suppress(OSError):
            os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], environment)


def _runs_by_itself():
    """Whether the command line is this program's, and not of one that runs it with arguments of its own."""
    module = sys.modules["__main__"].__spec__
    program = sys.argv[0] if module is None else module.name
    return sys.orig_argv[-len(sys.argv) :] == [program, *sys.argv[1:]]
