"""A signal ends a command at once; of a run, the first asks to stop. Even inside a long call."""

import contextlib
import os
import pathlib
import signal
import subprocess
import sys
import threading
import time

import pytest

from tests.fixtures.processes import alive
from vaeflow.runs import signals
from vaeflow.runs.signals import StopRequest

REPOSITORY = pathlib.Path(__file__).parents[2]

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

# A command without anything to save; its folder, whose name it prints, lives as long as it does.
AT_ONCE = """
import hashlib, pathlib, sys
from vaeflow.runs import files, processes, signals

signals.watch()
with (
    files.staging(pathlib.Path(), "export") as folder,
    processes.child([sys.executable, "-c", "import time; time.sleep(60)"]) as child,
):
    print(folder, child.pid, flush=True)
    {wait}
"""
WAITS = {
    "long call": 'hashlib.pbkdf2_hmac("sha256", b"", b"", 10**9)',
    "read": "sys.stdin.read()",
    "wait for a child": "child.wait()",
}


def wait_for_name(request):
    deadline = time.monotonic() + 10
    while request.name is None and time.monotonic() < deadline:
        time.sleep(0.002)
    return request.name


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT", "SIGHUP"])
def test_the_first_signal_is_noted(name):
    with StopRequest().listening() as request:
        assert request.name is None
        os.kill(os.getpid(), signal.Signals[name])
        assert wait_for_name(request) == name


def test_signals_within_a_second_are_one():
    """As `timeout` sends them. Counted twice, the second would end this process."""
    with StopRequest().listening() as request:
        os.kill(os.getpid(), signal.SIGTERM)
        assert wait_for_name(request) == "SIGTERM"
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGHUP)
        time.sleep(0.2)
    assert request.name == "SIGTERM"


def test_a_reason_to_stop_that_is_no_signal_leaves_the_first_signal_harmless():
    with StopRequest().listening() as request:
        request.ask("the time limit")
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0.2)
    assert request.name == "the time limit"


def test_a_hangup_that_is_ignored_stays_so():
    """As `nohup` ignores it."""
    previous = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with StopRequest().listening() as request:
            os.kill(os.getpid(), signal.SIGHUP)
            time.sleep(0.1)
        assert request.name is None
    finally:
        signal.signal(signal.SIGHUP, previous)


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
    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    before = [signal.getsignal(number) for number in numbers]
    threads = set(threading.enumerate())
    for error in (None, RuntimeError):
        with contextlib.suppress(RuntimeError), StopRequest().listening():
            assert [signal.getsignal(number) for number in numbers] != before
            if error:
                raise error
        assert [signal.getsignal(number) for number in numbers] == before
        descriptor = signal.set_wakeup_fd(-1)
        assert descriptor == -1
    deadline = time.monotonic() + 10
    while set(threading.enumerate()) - threads and time.monotonic() < deadline:
        time.sleep(0.002)
    assert set(threading.enumerate()) <= threads


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
            time.sleep(signals._ONE_REQUEST_SECONDS)
            sent = time.monotonic()
            process.send_signal(second)
            assert process.wait(timeout=20) == code
            assert time.monotonic() - sent < 2
        finally:
            process.kill()


@pytest.mark.processes
@pytest.mark.parametrize(
    ("wait", "number"),
    [("long call", signal.SIGTERM), ("read", signal.SIGINT), ("wait for a child", signal.SIGHUP)],
)
def test_a_command_ends_at_once_and_leaves_nothing_behind(tmp_path, wait, number):
    command = [sys.executable, "-c", AT_ONCE.format(wait=WAITS[wait])]
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    pipe = subprocess.PIPE
    with subprocess.Popen(
        command, cwd=tmp_path, env=environment, stdin=pipe, stdout=pipe, stderr=pipe, text=True
    ) as process:
        folder, child = process.stdout.readline().split()
        assert (tmp_path / folder).is_dir()
        sent = time.monotonic()
        process.send_signal(number)
        error = process.stderr.read()
        assert process.wait(timeout=20) == 128 + number
    assert time.monotonic() - sent < 5
    assert error == f"vaeflow: stopped by {number.name}\n"
    assert list(tmp_path.iterdir()) == []
    deadline = time.monotonic() + 10
    while alive(int(child)) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not alive(int(child))
