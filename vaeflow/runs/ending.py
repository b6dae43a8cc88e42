"""Ends this process from any thread, whatever its main thread does, and leaves nothing behind.

    with ending.held_off():
        path.mkdir()
        stack.enter_context(ending.cleaned_up(path.rmdir))

What is made has a clean-up before the process can end, even where the call to the disk takes long.
"""

import atexit
import contextlib
import functools
import gc
import os
import sys
import threading
from collections.abc import Callable, Generator
from typing import NoReturn

_LONGEST_SECONDS = 10.0
_clean_ups: list[Callable[[], None]] = []
# Held while something is made or removed. Whoever ends the process takes it and keeps it.
_changing = threading.RLock()
_leaves_destructors_out = False


@contextlib.contextmanager
def held_off() -> Generator[None]:
    """Lets the end of this process wait for the block, a few seconds at most."""
    with _changing:
        yield


@contextlib.contextmanager
def cleaned_up(function: Callable[[], None]) -> Generator[None]:
    """Calls a function when the block ends, also if the process is ended at once inside it.

    Args:
      function: e.g. removes a temporary folder or kills a child; it may be called twice, and
        from another thread.
    """
    _clean_ups.append(function)
    try:
        yield
    finally:
        with held_off():
            function()
            _clean_ups.remove(function)


def end_at_once(
    code: int, report: Callable[[], None] | None = None, stop: Callable[[], None] | None = None
) -> NoReturn:
    """Ends this process, though its main thread may never return from a call.

    Args:
      code: the exit code.
      report: says why, and may write files.
      stop: called after it, when nothing is being made or removed, unless that hangs. It needs no lock
        of a thread that may be waiting to make something.
    """

    def leave() -> None:
        _tried(report)
        _changing.acquire(timeout=_LONGEST_SECONDS / 2)
        for function in (stop, *reversed(_clean_ups)):
            _tried(function)

    # In a thread of its own: a full pipe or a hanging disk must not keep the process alive.
    leaving = threading.Thread(target=leave, daemon=True)
    leaving.start()
    leaving.join(_LONGEST_SECONDS)
    os._exit(code)


def _tried(function: Callable[[], None] | None) -> None:
    if function is not None:
        with contextlib.suppress(Exception):
            function()


def run_and_exit(main: Callable[[], int]) -> NoReturn:
    """Runs a program and ends the process with its exit code, without the destructors of its objects.

    That of a `tf.data` iterator waits for the functions in Python that are reading just then. A thread
    may sleep in one for a minute: a run that had saved its state after 4 s ended after 100. While Python
    ends none can go on, so the wait has no end. And while Python ends, nothing answers a signal.
    Functions registered with `atexit` are still called.

    Args:
      main: returns the exit code.
    """
    global _leaves_destructors_out
    codes = []

    def end() -> None:
        if codes:
            for stream in (sys.stdout, sys.stderr):
                stream.flush()
            os._exit(codes[0])

    atexit.register(end)  # The function registered first is called last.
    codes.append(main())
    _leaves_destructors_out = True
    sys.exit(codes[0])


@functools.cache  # Once is enough.
def collect_before_exit() -> None:
    """Lets Python collect garbage before it ends, in a process that does not use `run_and_exit`.

    A `tf.data` iterator in a cycle of references, such as that of a `Trainer`, would be destroyed while
    Python ends, and its destructor would wait forever; see `run_and_exit`.
    """
    atexit.register(_collect)


def _collect() -> None:
    if not _leaves_destructors_out:
        gc.collect()
