"""Opens regular files only: a pipe, a device or a socket would block for good, or never end."""

import os
import stat
from pathlib import Path
from typing import BinaryIO

from vaeflow.errors import DataError

_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def open_regular(path: str | os.PathLike[str]) -> BinaryIO:
    """Opens a regular file, or a link to one, for reading.

    Raises:
      DataError: it is something else, or cannot be opened.
    """
    try:
        # Without O_NONBLOCK, opening a pipe waits for somebody to write. Regular files do not heed it.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except (OSError, ValueError) as error:
        # A socket cannot be opened at all, and the reason of the system is hard to understand.
        check_regular(path)
        raise DataError(f"{path} cannot be read: {error}; put the file back, or start again") from error
    try:
        _check_mode(path, os.fstat(descriptor).st_mode)
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def read_regular(path: str | os.PathLike[str]) -> bytes:
    """Reads a regular file.

    Raises:
      DataError: it is something else, or cannot be read.
    """
    with open_regular(path) as file:
        try:
            return file.read()
        except OSError as error:
            raise DataError(f"{path} cannot be read: {error}; check the disk") from error


def check_regular(path: str | os.PathLike[str]) -> os.stat_result:
    """Checks that a path, followed through links, is a regular file; for libraries that open it by name.

    Returns:
      What the system knows of the file.

    Raises:
      DataError: it is something else, or missing.
    """
    try:
        found = Path(path).stat()
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read: {error}; put the file back, or start again") from error
    _check_mode(path, found.st_mode)
    return found


def _check_mode(path: str | os.PathLike[str], mode: int) -> None:
    if not stat.S_ISREG(mode):
        kind = _KINDS.get(stat.S_IFMT(mode), "something else")
        raise DataError(f"{path} is {kind}; expected a regular file; remove or replace it")
