"""Unfinished files and folders: their names, and their locks, which say that who writes them lives."""

import contextlib
import fcntl
import os
import secrets
import time
from collections.abc import Callable, Generator
from pathlib import Path

UNFINISHED = ".unfinished-"
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
# Where there are no locks: nothing of ours takes longer to write than a day, so whoever left this was killed.
_ABANDONED_SECONDS = 86_400.0


def free_name(parent: Path, name: str, kind: str = UNFINISHED) -> Path:
    """Returns a name that nobody knows in advance."""
    return parent / f"{kind}{name}-{secrets.token_hex(8)}"


def new_file(parent: Path, name: str) -> tuple[Path, int]:
    """Makes an empty file that will be called `name`.

    Returns:
      Its path, and a descriptor to write to, which holds its lock until it is closed or the process ends.

    Raises:
      OSError: it cannot be made.
    """
    return _new(parent, name, lambda path: os.open(path, _NEW_FILE, 0o666))


def new_folder(parent: Path, name: str) -> tuple[Path, int]:
    """Makes an empty folder that will be called `name`; otherwise as `new_file`."""
    return _new(parent, name, _made_and_opened)


@contextlib.contextmanager
def abandoned(left: Path) -> Generator[bool]:
    """Says whether nobody writes a file or folder any more; nobody else can lock it in the block.

    Yields:
      Whether its lock was free.
    """
    try:
        descriptor = os.open(left, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        yield _is_old(left)
        return
    try:
        was_free = _locked(descriptor)
        yield _is_old(left) if was_free is None else was_free
    finally:
        os.close(descriptor)


def _new(parent: Path, name: str, make: Callable[[Path], int | None]) -> tuple[Path, int]:
    while True:
        path = free_name(parent, name)
        descriptor = make(path)
        # Before it was locked, another process may have taken it for abandoned.
        if descriptor is None:
            continue
        if _locked(descriptor) is not False and os.path.lexists(path):
            return path, descriptor
        os.close(descriptor)


def _made_and_opened(folder: Path) -> int | None:
    folder.mkdir()
    try:
        return os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None


def _locked(descriptor: int) -> bool | None:
    """Takes the lock of an open file or folder; returns whether it was free; None: there are no locks."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


def _is_old(left: Path) -> bool:
    try:
        return time.time() - left.lstat().st_mtime > _ABANDONED_SECONDS
    except FileNotFoundError:  # It has just got its final name.
        return False
