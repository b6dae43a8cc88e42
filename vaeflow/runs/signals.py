"""SIGTERM and SIGINT: the first asks a run to stop with its state saved, the second stops it at once."""

import contextlib
import ctypes
import os
import signal
import socket
import sys
import threading

NOTICE = "stopping after the steps under way, with the state saved; once more stops at once"

_SIGNALS = (signal.SIGTERM, signal.SIGINT)
_SET_DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG


def dying_with(parent):
    """Returns a function that lets the process that calls it be killed when its parent dies.

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
    """Whether a signal has asked the run to stop.

    Attributes:
      name: the signal's name, e.g. `"SIGTERM"`; None before one arrives.
    """

    def __init__(self):
        self.name = None

    @contextlib.contextmanager
    def listening(self):
        """Catches the signals inside; only in the main thread, elsewhere it does nothing.

        A thread watches for them: Python's own handlers do not run while the main
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

    def _watch(self, read_end):
        with read_end:
            while received := read_end.recv(1):
                if received[0] not in _SIGNALS:
                    continue
                if self.name is not None:
                    os._exit(128 + received[0])
                self.name = signal.Signals(received[0]).name
                message = f"\n{self.name}: {NOTICE}\n"
                os.write(2, message.encode())
