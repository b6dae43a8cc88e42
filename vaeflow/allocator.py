"""Tunes the C library's allocator, which decides how fast TensorFlow trains on CPU."""

import ctypes
import sys

# mallopt's parameter numbers, from glibc's malloc.h.
_TRIM_THRESHOLD = -1
_TOP_PAD = -2
_MMAP_THRESHOLD = -3


def tune():
    """Keeps big buffers in the process instead of returning them at every step.

    glibc hands a freed buffer above 128 KiB back to the kernel, and the next step
    pays for its page faults again: half the time of a step on CPU. Elsewhere than
    on Linux with glibc this does nothing.

    Returns:
      True where the allocator was tuned.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):
        return False
    settings = {_MMAP_THRESHOLD: 32 << 20, _TRIM_THRESHOLD: 2**31 - 1, _TOP_PAD: 256 << 20}
    return all([mallopt(parameter, value) for parameter, value in settings.items()])
