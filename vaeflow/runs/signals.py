"""SIGTERM, SIGINT and SIGHUP: a run saves its state and stops, any other command ends at once."""

from __future__ import annotations

import contextlib
import signal
import socket
import threading
import time
from collections.abc import Callable, Generator
from typing import Any

from vaeflow.runs import ending, program, streams

NOTICE = "finishing the current steps and saving the state; a second signal stops at once"

# SIGHUP comes when the terminal is closed or an ssh connection is lost.
_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
# `timeout` signals its child and then the child's group, a terminal that closes sends several.
_ONE_REQUEST_SECONDS = 1.0


@contextlib.contextmanager
def held_back() -> Generator[None]:
    """Lets the signals wait while the block runs, also in a program that replaces this one inside it."""
    signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)


def watch() -> None:
    """Answers the signals for the rest of this process; see `watching`."""
    global _watch
    _watch = _Watch()
    _watch.install()


@contextlib.contextmanager
def watching() -> Generator[None]:
    """Answers the signals inside: each ends the process, unless a `StopRequest` listens.

    A thread answers them, since Python's own handlers do not run while the main thread is
    inside a long TensorFlow call. A SIGHUP that is ignored, as `nohup` does, stays ignored.
    Does nothing outside the main thread, or where signals are answered already.
    """
    global _watch
    if _watch is not None or not _in_main_thread():
        yield
        return
    _watch = installed = _Watch()
    installed.install()
    try:
        yield
    finally:
        installed.uninstall()
        _watch = None


class StopRequest:
    """Whether the run was asked to stop.

    Attributes:
      name: what asked, e.g. `"SIGTERM"`; None until then.
    """

    def __init__(self) -> None:
        self.name: str | None = None

    def ask(self, name: str) -> None:
        """Asks the run to stop with its state saved, for the reason `name`."""
        self.name = self.name or name

    @contextlib.contextmanager
    def listening(self, notice: str | None = NOTICE) -> Generator[StopRequest]:
        """Takes the first signal inside as a request to stop; the second ends the process.

        Signals within a second count as one. Does nothing outside the main thread.

        Args:
          notice: what the user is told about the first signal; None for nothing.
        """
        with watching():
            if _watch is None or not _in_main_thread():
                yield self
                return
            with _watch.asking(self.ask, notice):
                yield self


class _Watch:
    """The handlers of the signals, and the thread that answers them."""

    def __init__(self) -> None:
        self._ask: Callable[[str], None] | None = None
        self._notice: str | None = None
        self._answered_at = -_ONE_REQUEST_SECONDS
        self._is_ending = False
        self._main_thread = threading.get_ident()
        self._previous: dict[signal.Signals, Any] = {}
        self._read_end, self._write_end = socket.socketpair()
        self._write_end.setblocking(False)

    def install(self) -> None:
        """Takes the signals over."""
        for number in _SIGNALS:
            if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:
                self._previous[number] = signal.signal(number, self._handle)
        self._previous_descriptor = signal.set_wakeup_fd(self._write_end.fileno(), warn_on_full_buffer=False)
        threading.Thread(target=self._answer_all, name="signals", daemon=True).start()

    def uninstall(self) -> None:
        """Gives the signals back to whoever had them, and ends the thread."""
        signal.set_wakeup_fd(self._previous_descriptor)
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._write_end.close()

    @contextlib.contextmanager
    def asking(self, ask: Callable[[str], None], notice: str | None) -> Generator[None]:
        # TensorFlow takes SIGTERM for itself when it connects several workers.
        for number in self._previous:
            signal.signal(number, self._handle)
        previous = self._ask, self._notice
        self._ask, self._notice = ask, notice
        try:
            yield
        finally:
            self._ask, self._notice = previous

    def _handle(self, *_: object) -> None:
        # While the process ends, its main thread must not go on: it would run into files that are
        # being removed, and end the process with another code.
        while self._is_ending:
            time.sleep(1)

    def _answer_all(self) -> None:
        with self._read_end:
            while received := self._read_end.recv(1):
                if received[0] in _SIGNALS:
                    self._answer(signal.Signals(received[0]))

    def _answer(self, number: signal.Signals) -> None:
        now = time.monotonic()
        if now - self._answered_at < _ONE_REQUEST_SECONDS:
            return
        self._answered_at = now
        if self._ask is None:
            ending.end_at_once(128 + number, stop=lambda: self._stop_for(number))
        self._ask(number.name)
        self._ask = None  # The next one ends the process.
        if self._notice is not None:
            streams.write_error(f"\n{number.name}: {self._notice}\n")

    def _stop_for(self, number: signal.Signals) -> None:
        """Holds the main thread, then says why: else it might end the process by itself after that."""
        self._is_ending = True
        signal.pthread_kill(self._main_thread, number)
        streams.write_error(f"{program.current.name}: stopped by {number.name}\n")


_watch: _Watch | None = None


def _in_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()
