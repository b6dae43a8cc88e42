"""Ends this process from any thread, whatever its main thread does, and leaves nothing behind.

    with ending.held_off():
        path.mkdir()
        stack.enter_context(ending.cleaned_up(path.rmdir))

What is made has a clean-up before the process can end, even where the call to the disk takes long.
"""

import contextlib
import os
import threading
from collections.abc import Callable, Generator
from typing import NoReturn

_LONGEST_SECONDS = 10.0
_clean_ups: list[Callable[[], None]] = []
# Held while something is made or removed. Whoever ends the process takes it and keeps it.
_changing = threading.RLock()


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


def end_at_once(code: int, report: Callable[[], None]) -> NoReturn:
    """Ends this process, though its main thread may never return from a call.

    Args:
      code: the exit code.
      report: says why; called when nothing is being made or removed, unless that hangs.
    """

    def leave() -> None:
        _changing.acquire(timeout=_LONGEST_SECONDS / 2)
        for function in (report, *reversed(_clean_ups)):
            with contextlib.suppress(Exception):
                function()

    # In a thread of its own: a full pipe or a hanging disk must not keep the process alive.
    leaving = threading.Thread(target=leave, daemon=True)
    leaving.start()
    leaving.join(_LONGEST_SECONDS)
    os._exit(code)
