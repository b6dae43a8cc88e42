"""SIGTERM and SIGINT: the first asks a run to save its state and stop, the second stops it at once."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Generator

NOTICE = "finishing the current steps and saving the state; a second signal stops at once"

_SIGNALS = (signal.SIGTERM, signal.SIGINT)
_SET_DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG


def kill_with_parent(parent: int) -> Callable[[], None]:
    """Returns a `preexec_fn` that kills the child when its parent dies.

    Args:
      parent: the process id of the parent.
    """
    libc = ctypes.CDLL(None) if sys.platform == "linux" else None

    def die_with_parent():
        if libc is not None:
            libc.prctl(_SET_DEATH_SIGNAL, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)

    return die_with_parent


class StopRequest:
    """Whether the run was asked to stop.

    Attributes:
      name: what asked, e.g. `"SIGTERM"`; None until then.
    """

    def __init__(self) -> None:
        self.name: str | None = None

    def ask(self, name: str) -> None:
        """Asks the run to stop with its state saved, for the reason `name`."""
        self.name = name

    @contextlib.contextmanager
    def listening(self) -> Generator[StopRequest]:
        """Catches the signals inside; does nothing outside the main thread.

        A thread watches for them, because Python's own handlers do not run while the main
        thread is inside a long TensorFlow call.
        """
        if threading.current_thread() is not threading.main_thread():
            yield self
            return
        read_end, write_end = socket.socketpair()
        write_end.setblocking(False)
        previous = {number: signal.signal(number, lambda *_: None) for number in _SIGNALS}
        previous_descriptor = signal.set_wakeup_fd(write_end.fileno(), warn_on_full_buffer=False)
        threading.Thread(target=self._watch, args=(read_end,), daemon=True).start()
        try:
            yield self
        finally:
            signal.set_wakeup_fd(previous_descriptor)
            for number, handler in previous.items():
                signal.signal(number, handler)
            write_end.close()

    def _watch(self, read_end: socket.socket) -> None:
        with read_end:
            while received := read_end.recv(1):
                if received[0] not in _SIGNALS:
                    continue
                if self.name is not None:
                    os._exit(128 + received[0])
                self.ask(signal.Signals(received[0]).name)
                message = f"\n{self.name}: {NOTICE}\n"
                os.write(2, message.encode())
