"""Work that a thread does while the caller goes on."""

from __future__ import annotations

import threading
from collections.abc import Callable


class Background:
    """Does one piece of work at a time, each in a thread of its own.

    What the work raises is raised once, by the next call of `start`, `check` or `wait`. The thread does
    not keep the process alive: whoever needs the work calls `wait`.

    Args:
      name: of the threads, for the stacks that a watchdog writes.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._thread: threading.Thread | None = None
        self._error: Exception | None = None

    def start(self, work: Callable[[], None]) -> None:
        """Begins with `work` when the work before is done; raises what that raised, and begins nothing."""
        self.wait()
        thread = threading.Thread(target=self._do, args=(work,), name=self._name, daemon=True)
        thread.start()
        self._thread = thread

    def check(self) -> None:
        """Raises what the work raised, if it is done."""
        if not self.is_busy():
            self.wait()

    def is_busy(self) -> bool:
        """Whether work is being done."""
        return self._thread is not None and self._thread.is_alive()

    def wait(self) -> None:
        """Waits until the work is done; raises what it raised."""
        if self._thread is None:
            return
        self._thread.join()
        self._thread = None
        error, self._error = self._error, None
        if error is not None:
            raise error

    def _do(self, work: Callable[[], None]) -> None:
        try:
            work()
        except Exception as error:  # Whatever it is, the caller must hear of it.
            self._error = error
