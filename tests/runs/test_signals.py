"""The first signal asks to stop, the second stops at once, even inside a long call."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from vaeflow.runs.signals import StopRequest

# A long call that, like TensorFlow's, lets other threads run but no handler of Python's.
BUSY = """
import hashlib, threading, time
from vaeflow.runs.signals import StopRequest

with StopRequest().listening() as request:
    def tell():
        while request.name is None:
            time.sleep(0.005)
        print(request.name, flush=True)

    threading.Thread(target=tell, daemon=True).start()
    print("ready", flush=True)
    hashlib.pbkdf2_hmac("sha256", b"", b"", 10**9)
"""


def wait_for_name(request):
    deadline = time.monotonic() + 10
    while request.name is None and time.monotonic() < deadline:
        time.sleep(0.002)
    return request.name


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT"])
def test_the_first_signal_is_noted(name):
    with StopRequest().listening() as request:
        assert request.name is None
        os.kill(os.getpid(), signal.Signals[name])
        assert wait_for_name(request) == name


def test_other_signals_are_none_of_its_business():
    seen = []
    previous = signal.signal(signal.SIGUSR1, lambda *_: seen.append("SIGUSR1"))
    try:
        with StopRequest().listening() as request:
            os.kill(os.getpid(), signal.SIGUSR1)
            time.sleep(0.1)
            assert seen == ["SIGUSR1"]
            assert request.name is None
    finally:
        signal.signal(signal.SIGUSR1, previous)


def test_handlers_are_as_before_afterwards():
    numbers = (signal.SIGTERM, signal.SIGINT)
    before = [signal.getsignal(number) for number in numbers]
    threads = threading.active_count()
    for error in (None, RuntimeError):
        with contextlib.suppress(RuntimeError), StopRequest().listening():
            assert [signal.getsignal(number) for number in numbers] != before
            if error:
                raise error
        assert [signal.getsignal(number) for number in numbers] == before
        descriptor = signal.set_wakeup_fd(-1)
        assert descriptor == -1
    deadline = time.monotonic() + 10
    while threading.active_count() > threads and time.monotonic() < deadline:
        time.sleep(0.002)
    assert threading.active_count() == threads


def test_in_another_thread_it_does_nothing():
    requests = []

    def listen():
        with StopRequest().listening() as request:
            requests.append((request, signal.getsignal(signal.SIGTERM)))

    before = signal.getsignal(signal.SIGTERM)
    thread = threading.Thread(target=listen)
    thread.start()
    thread.join()
    assert requests[0][0].name is None
    assert requests[0][1] == before


@pytest.mark.processes
@pytest.mark.parametrize(
    ("first", "second", "code"),
    [(signal.SIGTERM, signal.SIGTERM, 143), (signal.SIGTERM, signal.SIGINT, 130)],
)
def test_the_second_signal_ends_the_process_inside_a_long_call(first, second, code):
    command = [sys.executable, "-c", BUSY]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout.readline() == "ready\n"
            process.send_signal(first)
            assert process.stdout.readline() == f"{first.name}\n"
            assert process.poll() is None
            sent = time.monotonic()
            process.send_signal(second)
            assert process.wait(timeout=20) == code
            assert time.monotonic() - sent < 2
        finally:
            process.kill()
