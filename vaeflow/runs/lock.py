"""The lock of a work folder: one live run at a time."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import functools
import os
import pathlib
import secrets
import shutil
import socket
from collections.abc import Generator
from typing import Any

from absl import logging

from vaeflow.errors import EnvironmentFailure
from vaeflow.runs import ending, json_files, reading

NAME = ".lock"
_OWNER = ".lock-owner"

_HELD = frozenset({errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES})
_OPENED = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_CREATED = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_REQUIRED = {
    "host": json_files.TEXT,
    "boot": json_files.TEXT,
    "pid": json_files.WHOLE,
    "started": json_files.TEXT,
}


@contextlib.contextmanager
def held(folder: pathlib.Path, called: str = "the work folder", flag: str = "--workdir") -> Generator[None]:
    """Holds the lock of a folder, which the system releases when the process dies.

    Args:
      folder: the folder.
      called: what a message calls it.
      flag: which flag names it.

    A network disk may offer no locks. Then a file that names host and process takes their place; one
    that a killed process of this host left is removed.

    Raises:
      EnvironmentFailure: a live run holds it.
      OSError: the folder cannot be written.
    """
    with os.fdopen(os.open(folder / NAME, _OPENED, 0o666), "rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in _HELD:
                raise EnvironmentFailure(
                    f"{called} {folder} is in use by a live run; wait for it, or choose another with `{flag}`"
                ) from error
            logging.warning(
                "the disk of %s offers no locks (%s); the file %s takes their place",
                folder,
                error.strerror,
                _OWNER,
            )
            with _owned(folder / _OWNER, called, flag):
                yield
        else:
            yield


@contextlib.contextmanager
def made_and_held(
    folder: pathlib.Path, called: str = "the work folder", flag: str = "--workdir"
) -> Generator[None]:
    """Makes a folder and holds its lock; see `held`.

    A folder made here is removed again if nothing was written to it.
    """
    with contextlib.ExitStack() as stack:
        with ending.held_off():
            existed = folder.exists()
            folder.mkdir(parents=True, exist_ok=True)
            stack.enter_context(held(folder, called, flag))
            if not existed:
                stack.enter_context(ending.cleaned_up(functools.partial(_remove_if_unused, folder)))
        yield


def _remove_if_unused(folder: pathlib.Path) -> None:
    # The folder may be gone, which is no reason to hide what happened.
    with contextlib.suppress(OSError):
        if {path.name for path in folder.iterdir()} <= {NAME, _OWNER}:
            shutil.rmtree(folder)


@contextlib.contextmanager
def _owned(path: pathlib.Path, called: str, flag: str) -> Generator[None]:
    """Holds a lock by the existence of a file."""
    mine = {**_this_machine(), "pid": os.getpid(), "started": _start_of(os.getpid())}
    try:
        _create(path, mine)
    except FileExistsError:
        _take_from_the_dead(path, called, flag)
        _create(path, mine)
    try:
        yield
    finally:
        with contextlib.suppress(OSError, ValueError):
            if json_files.read(path, _REQUIRED) == mine:
                path.unlink()


def _create(path: pathlib.Path, owner: dict[str, Any]) -> None:
    with os.fdopen(os.open(path, _CREATED, 0o666), "wb") as file:
        file.write(json_files.dumps(owner).encode())


def _take_from_the_dead(path: pathlib.Path, called: str, flag: str) -> None:
    """Removes the file of a process of this host that lives no more.

    Raises:
      EnvironmentFailure: the process lives, or that cannot be known.
    """
    try:
        owner = json_files.read(path, _REQUIRED)
    except FileNotFoundError:
        return
    except (OSError, ValueError):
        owner = None
    of_this_machine = owner is not None and {**owner, **_this_machine()} == owner
    if owner is None or not of_this_machine or _start_of(owner["pid"]) == owner["started"]:
        described = "another process" if owner is None else f"process {owner['pid']} on {owner['host']}"
        raise EnvironmentFailure(
            f"{called} {path.parent} is in use by {described}, says {path.name} in it, and its disk "
            f"offers no locks; wait for that run, choose another folder with `{flag}`, or remove that file "
            "if the run lives no more"
        )
    # Two may find it at once: only one of them can move it away.
    gone = path.with_name(f"{_OWNER}-{secrets.token_hex(8)}")
    with contextlib.suppress(FileNotFoundError):
        path.rename(gone)
        gone.unlink()


def _this_machine() -> dict[str, str]:
    """Names what process numbers are counted in: this host since its start, or a container on it."""
    boot = _text("/proc/sys/kernel/random/boot_id")
    with contextlib.suppress(OSError):
        boot += f" {pathlib.Path('/proc/self/ns/pid').readlink()}"
    return {"host": socket.gethostname(), "boot": boot}


def _start_of(pid: int) -> str:
    """Says when a process was started, in ticks since the start of the host; empty if there is none."""
    fields = _text(f"/proc/{pid}/stat").rpartition(")")[2].split()
    return fields[19] if len(fields) > 19 and fields[0] not in "ZX" else ""


def _text(path: str) -> str:
    try:
        with reading.opened(pathlib.Path(path)) as file:
            return file.read().decode(errors="replace").strip()
    except OSError:
        return ""
