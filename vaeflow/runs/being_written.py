"""Locks of unfinished files and folders: they say that the process that writes them lives."""

import contextlib
import fcntl
import os
import time
from collections.abc import Generator
from pathlib import Path

# Who writes holds a lock, soon after the start. Where there are no locks: nothing of ours takes
# longer to write than a day, so whoever left this was killed.
_LOCKED_WITHIN_SECONDS = 2.0
_ABANDONED_SECONDS = 86_400.0


def is_abandoned(left: Path) -> bool:
    """Whether the process that wrote a file or folder is gone: nobody holds its lock."""
    try:
        seconds = time.time() - left.lstat().st_mtime
    except FileNotFoundError:  # It has just got its final name.
        return False
    if seconds < _LOCKED_WITHIN_SECONDS:
        return False
    try:
        descriptor = os.open(left, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return seconds > _ABANDONED_SECONDS
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return seconds > _ABANDONED_SECONDS
    finally:
        os.close(descriptor)
    return True


@contextlib.contextmanager
def marked(folder: Path) -> Generator[None]:
    """Holds the lock of a folder, which says that its process lives."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        mark(descriptor)
        yield
    finally:
        os.close(descriptor)


def mark(descriptor: int) -> None:
    """Holds the lock of an open file or folder until it is closed, or the process ends."""
    with contextlib.suppress(OSError):  # Not every file system has locks.
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
