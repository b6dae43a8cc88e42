"""Makes writing to the standard streams safe, whatever happens to a terminal, a pipe or a disk."""

import contextlib
import io
import os
import sys
from collections.abc import Generator
from typing import TextIO

_DESCRIPTORS = (0, 1, 2)

# Where `write_error` writes: another while stderr is held back.
_error_descriptor = 2


def protect() -> None:
    """Makes the standard streams safe for the rest of this process; a command calls it first.

    A run must not end because nobody reads what it says: the other end of the pipe is gone
    (`| head`), the terminal is closed, the disk of a redirected stream is full, or the stream
    was closed from the start (`2>&-`). What cannot be written is dropped; what the encoding
    of the stream lacks is replaced by `?`.
    """
    for descriptor in _DESCRIPTORS:
        _open_if_closed(descriptor)
    if sys.stdin is None:
        sys.stdin = sys.__stdin__ = open(0, closefd=False, encoding="utf-8")  # noqa: SIM115 -- lives with the process
    sys.stdout = sys.__stdout__ = _safe(sys.stdout, 1)
    sys.stderr = sys.__stderr__ = _safe(sys.stderr, 2)


def write_error(text: str) -> None:
    """Writes to stderr past Python's stream, whose lock another thread may hold; never fails."""
    encoding = getattr(sys.stderr, "encoding", None) or "utf-8"
    _write_all(_error_descriptor, text.encode(encoding, "replace"))


@contextlib.contextmanager
def errors_held_back() -> Generator[None]:
    """Holds back what is written to stderr, unless the block ends in an exception."""
    global _error_descriptor
    sys.stderr.flush()
    _error_descriptor = os.dup(2)
    # In memory: there may be no folder for temporary files.
    with open(os.memfd_create("stderr"), "w+b") as held_back:  # noqa: PTH123
        os.dup2(held_back.fileno(), 2)
        try:
            yield
        except BaseException:
            held_back.seek(0)
            _write_all(_error_descriptor, held_back.read())
            raise
        finally:
            os.dup2(_error_descriptor, 2)
            os.close(_error_descriptor)
            _error_descriptor = 2


class _Descriptor(io.RawIOBase):
    """A file descriptor to which everything can be written; what cannot is dropped."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self.name = f"<descriptor {descriptor}>"
        self.mode = "wb"

    def fileno(self) -> int:
        return self._descriptor

    def isatty(self) -> bool:
        return os.isatty(self._descriptor)

    def writable(self) -> bool:
        return True

    def write(self, data) -> int:
        return _write_all(self._descriptor, memoryview(data).cast("B"))


def _write_all(descriptor: int, data: bytes | memoryview) -> int:
    """Writes what can be written; returns the number of bytes that were given."""
    rest = memoryview(data)
    with contextlib.suppress(OSError):
        while rest:
            rest = rest[os.write(descriptor, rest) :]
    return len(data)


def _safe(stream: TextIO | None, descriptor: int) -> TextIO:
    """Returns a stream with the settings of another that may be None."""
    raw = _Descriptor(descriptor)
    unbuffered = getattr(stream, "write_through", False)  # `python -u`.
    return io.TextIOWrapper(
        raw if unbuffered else io.BufferedWriter(raw),  # pyright: ignore[reportArgumentType]
        encoding=getattr(stream, "encoding", "utf-8"),
        errors="replace",
        line_buffering=getattr(stream, "line_buffering", True),
        write_through=unbuffered,
    )


def _open_if_closed(descriptor: int) -> None:
    """Gives a closed descriptor to the null device, before a file that is opened takes its number."""
    try:
        os.fstat(descriptor)
    except OSError:
        null = os.open(os.devnull, os.O_RDWR)
        if null != descriptor:
            os.dup2(null, descriptor)
            os.close(null)
        os.set_inheritable(descriptor, True)
