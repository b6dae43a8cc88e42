"""Reads files that may come from anybody."""

import contextlib
import errno
import os
import stat
from collections.abc import Generator
from io import BufferedReader
from pathlib import Path


@contextlib.contextmanager
def opened(path: Path) -> Generator[BufferedReader]:
    """Opens a file to read; unlike `open`, it never waits for the other end of a named pipe.

    Raises:
      OSError: there is no such file, or it is a pipe, a device or the like.
    """
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise OSError(errno.EINVAL, "It is no regular file", str(path))
        yield file


def read_text(path: Path) -> str:
    """Returns the text of a file in UTF-8.

    Raises:
      OSError: it cannot be read.
      ValueError: it is not UTF-8; the message names the line.
    """
    with opened(path) as file:
        content = file.read()
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ValueError(f"line {line} is not UTF-8") from error
