"""Ends this process from any thread, whatever its main thread does, and leaves nothing behind."""

import contextlib
import os
import threading
from collections.abc import Callable, Generator
from typing import NoReturn

_LONGEST_SECONDS = 10.0
_clean_ups: list[Callable[[], None]] = []


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
        function()
        _clean_ups.remove(function)


def end_at_once(code: int, report: Callable[[], None]) -> NoReturn:
    """Ends this process, though its main thread may never return from a call.

    Args:
      code: the exit code.
      report: says why.
    """

    def leave() -> None:
        for function in (report, *reversed(_clean_ups)):
            with contextlib.suppress(Exception):
                function()

    # In a thread of its own: a full pipe or a hanging disk must not keep the process alive.
    leaving = threading.Thread(target=leave, daemon=True)
    leaving.start()
    leaving.join(_LONGEST_SECONDS)
    os._exit(code)
