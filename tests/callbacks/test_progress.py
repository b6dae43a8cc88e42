"""The line that tells how far a run is: a bar in a terminal, plain lines elsewhere."""

import contextlib
import fcntl
import io
import os
import re
import signal
import struct
import sys
import termios
import threading
import time

import pytest

from tests.fixtures import tiny_runs
from vaeflow.callbacks import Callback, Evaluation, Progress
from vaeflow.errors import Preempted


@contextlib.contextmanager
def terminal(monkeypatch, columns=200):
    """Makes stderr a terminal; yields a function that gives all that was written, once it is closed."""
    reader, writer = os.openpty()
    fcntl.ioctl(writer, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    monkeypatch.setenv("COLUMNS", str(columns))
    received = bytearray()

    def read():
        with contextlib.suppress(OSError):  # The end of a terminal is an error.
            while block := os.read(reader, 4096):
                received.extend(block)

    thread = threading.Thread(target=read)
    thread.start()
    with open(writer, "w", encoding="utf-8") as stream, monkeypatch.context() as patch:
        patch.setattr(sys, "stderr", stream)
        yield lambda: received.decode().replace("\r\n", "\n")
    thread.join()
    os.close(reader)


def test_a_bar_in_a_terminal(tmp_path, monkeypatch):
    with terminal(monkeypatch) as written:
        tiny_runs.train(tmp_path, callbacks=[Progress(), Evaluation(20)])
    lines = written().split("\r\033[K")
    assert len(lines) == 5
    assert lines[0].count("\n") == 5
    assert lines[0].startswith("model         VAE")
    assert lines[1].startswith("█" * 5 + "░" * 15 + "  step 5/20  ")
    assert "images/s" in lines[1]
    assert "0:0" not in lines[1]
    assert re.match("█{10}░{10}  step 10/20  [0-9,]+ images/s  0:0[0-9] left  loss ", lines[2])
    assert lines[4].startswith("█" * 20 + "  step 20/20")
    assert "negative elbo (evaluation) 4" in lines[4]
    # The prompt of the shell comes below it.
    assert lines[4].endswith("\n")
    assert "\n" not in "".join(lines[1:4])


def test_the_bar_does_not_wrap(tmp_path, monkeypatch):
    with terminal(monkeypatch, columns=60) as written:
        tiny_runs.train(tmp_path, callbacks=[Progress(), Evaluation(5)])
    lines = written().split("\r\033[K")[1:]
    assert len(lines) == 4
    assert max(len(line.strip("\n")) for line in lines) == 59


def test_plain_lines_without_a_terminal(tmp_path, monkeypatch):
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    tiny_runs.train(tmp_path, callbacks=[Progress(every_seconds=0)])
    lines = stream.getvalue().splitlines()
    assert [line.split("  ")[0] for line in lines[5:]] == [f"step {step}/20" for step in (5, 10, 15, 20)]
    facts = {line.split("  ")[0]: line for line in lines[:5]}
    assert "VAE, 1,156 weights, 2 latents, float32" in facts["model"]
    assert "40 training and 11 evaluation images of 8 x 8 x 1, uint8, on the device" in facts["data"]
    assert "\033" not in stream.getvalue()
    assert "\r" not in stream.getvalue()
    assert "█" not in stream.getvalue()


def test_plain_lines_are_rare_but_the_last_step_has_one(tmp_path, monkeypatch):
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    tiny_runs.train(tmp_path, steps_per_loop=1, callbacks=[Progress(every_seconds=1000)])
    steps = [line.split("  ")[0] for line in stream.getvalue().splitlines() if line.startswith("step")]
    assert steps == ["step 1/20", "step 20/20"]


def test_a_run_stopped_early_leaves_the_line(tmp_path, monkeypatch):
    class Terminate(Callback):
        def on_log(self, run, metrics):
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(0.2)

    with terminal(monkeypatch) as written, pytest.raises(Preempted):
        tiny_runs.train(tmp_path, callbacks=[Progress(), Terminate()])
    assert written().endswith("\n")
