"""Several workers on this machine: tiny programs in place of the training."""

import os
import pathlib
import signal
import subprocess
import sys
import textwrap
import time

import pytest

from tests.fixtures.processes import alive
from vaeflow.clusters.local import LocalCluster
from vaeflow.devices.workers import find_workers

pytestmark = pytest.mark.processes

REPOSITORY = pathlib.Path(__file__).parents[2]


# What each worker's program starts with: `index`, and the number of its start.
PRELUDE = """
import json, os, pathlib, signal, sys, time
config = json.loads(os.environ["TF_CONFIG"])
index = config["task"]["index"]
log = pathlib.Path(f"starts-{index}")
start = len(log.read_text().splitlines()) if log.exists() else 0
with open(log, "a") as file:
    print(os.getpid(), file=file)
"""


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    return tmp_path


def command(body):
    return [sys.executable, "-S", "-c", PRELUDE + textwrap.dedent(body)]


def run(body, num_workers=2, max_restarts=0, **settings):
    settings = {"first_delay_seconds": 0.05, "settle_seconds": 0.1, "grace_seconds": 5.0} | settings
    return LocalCluster(command(body), num_workers, max_restarts, **settings).run()


def pids(folder):
    """The process of each start of each worker."""
    return {path.name[-1]: list(map(int, path.read_text().split())) for path in folder.glob("starts-*")}


def wait_until(condition):
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.fixture
def launcher(folder):
    """Starts a `LocalCluster` in a process of its own; kills it afterwards."""
    processes = []

    def launch(body, num_workers=2, max_restarts=0, **settings):
        program = (
            "import sys\nfrom vaeflow.clusters.local import LocalCluster\n"
            f"sys.exit(LocalCluster({command(body)!r}, {num_workers}, {max_restarts}, **{settings!r}).run())"
        )
        pipe = subprocess.PIPE
        environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
        arguments = [sys.executable, "-c", program]
        process = subprocess.Popen(arguments, env=environment, stdout=pipe, stderr=pipe, text=True)
        processes.append(process)
        return process

    yield launch
    for process in processes:
        process.kill()
        process.communicate()


def test_workers_find_each_other_through_tf_config(folder):
    assert run("pathlib.Path(f'config-{index}').write_text(os.environ['TF_CONFIG'])", num_workers=3) == 0
    found = [find_workers({"TF_CONFIG": (folder / f"config-{index}").read_text()}) for index in range(3)]
    assert [one.index for one in found] == [0, 1, 2]
    assert len({one.addresses for one in found}) == 1
    assert len(set(found[0].addresses)) == 3
    assert all(address.startswith("127.0.0.1:") for address in found[0].addresses)


def test_output_is_passed_on_with_the_number_of_the_worker(capfd):
    body = """
    print(f"out {index}", flush=True)
    print(f"err {index}", file=sys.stderr)
    sys.stdout.buffer.write(b"\\xff no end of line")
    """
    assert run(body) == 0
    out, error = capfd.readouterr()
    expected = [
        f"[worker {index}] {text}" for index in (0, 1) for text in (f"out {index}", "\ufffd no end of line")
    ]
    assert sorted(out.splitlines()) == sorted(expected)
    assert sorted(error.splitlines()) == ["[worker 0] err 0", "[worker 1] err 1"]


@pytest.mark.parametrize(("codes", "expected"), [((0, 0), 0), ((42, 42), 42), ((0, 42), 42), ((42, 0), 42)])
def test_a_regular_end_is_not_restarted(folder, codes, expected, capfd):
    assert run(f"sys.exit({codes}[index])", max_restarts=3) == expected
    assert {worker: len(started) for worker, started in pids(folder).items()} == {"0": 1, "1": 1}
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("code", [2, 3])
def test_a_failure_that_would_repeat_is_not_restarted(folder, code, capfd):
    # The other fails because of it, and may end first.
    body = f"time.sleep(0.3 * index); sys.exit({code} if index else 4)"
    assert run(body, max_restarts=3, settle_seconds=10) == code
    assert len(pids(folder)["0"]) == 1
    assert capfd.readouterr().err == (f"vaeflow: error: worker 1 failed with code {code} after 0 restarts\n")


def test_a_failed_worker_stops_the_others_and_all_are_started_again(folder, capfd):
    body = """
    if start < 2 and index == 1:
        while not pathlib.Path(f"listening-{start}").exists():
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGKILL)
    if start < 2:
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(42))
        pathlib.Path(f"listening-{start}").touch()
        time.sleep(60)
    """
    started = time.monotonic()
    assert run(body, max_restarts=3, first_delay_seconds=0.2) == 0
    assert time.monotonic() - started < 20
    assert {worker: len(found) for worker, found in pids(folder).items()} == {"0": 3, "1": 3}
    assert not any(alive(pid) for found in pids(folder).values() for pid in found)
    lines = [line for line in capfd.readouterr().err.splitlines() if line.startswith("vaeflow")]
    assert lines == [
        "vaeflow: worker 1 failed with code 137 (SIGKILL); restart 1 of 3 in 0 s",
        "vaeflow: worker 1 failed with code 137 (SIGKILL); restart 2 of 3 in 0 s",
    ]


def test_restarts_take_longer_each_time_and_come_to_an_end(folder, capfd):
    started = time.monotonic()
    assert run("sys.exit(4 if index == 0 else 0)", max_restarts=2, first_delay_seconds=0.3) == 4
    assert time.monotonic() - started > 0.3 + 0.6
    assert len(pids(folder)["0"]) == 3
    assert capfd.readouterr().err.splitlines()[-1] == (
        "vaeflow: error: worker 0 failed with code 4 after 2 restarts"
    )


def test_a_worker_that_does_not_end_is_killed(folder):
    body = """
    if index == 0:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        pathlib.Path("ready").touch()
        time.sleep(60)
    while not pathlib.Path("ready").exists():
        time.sleep(0.01)
    sys.exit(1)
    """
    started = time.monotonic()
    assert run(body, grace_seconds=0.3) == 1
    assert time.monotonic() - started < 20
    assert not any(alive(pid) for found in pids(folder).values() for pid in found)


STOPPABLE = """
def stop(number, _):
    if pathlib.Path(f"stopping-{index}").exists():
        os._exit(128 + number)
    pathlib.Path(f"stopping-{index}").write_text(signal.Signals(number).name)
    while not pathlib.Path("saved").exists():
        time.sleep(0.01)
    sys.exit(42)

signal.signal(signal.SIGTERM, stop)
signal.signal(signal.SIGINT, stop)
signal.signal(signal.SIGHUP, stop)
pathlib.Path(f"ready-{index}").touch()
time.sleep(60)
"""


def both(folder, name):
    return lambda: all((folder / f"{name}-{index}").exists() for index in (0, 1))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_reaches_all_workers_and_nothing_is_restarted(launcher, folder, number):
    process = launcher(STOPPABLE, max_restarts=3)
    wait_until(both(folder, "ready"))
    process.send_signal(number)
    wait_until(both(folder, "stopping"))
    assert process.poll() is None
    (folder / "saved").touch()
    assert process.communicate(timeout=20) == ("", "")
    assert process.returncode == 42
    assert (folder / "stopping-1").read_text() == number.name
    assert [len(found) for found in pids(folder).values()] == [1, 1]


def test_a_second_signal_ends_all_at_once(launcher, folder):
    process = launcher(STOPPABLE)
    wait_until(both(folder, "ready"))
    process.send_signal(signal.SIGINT)
    wait_until(both(folder, "stopping"))
    time.sleep(1)  # Signals within a second are one.
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=20)
    assert process.returncode == 143
    assert not any(alive(found[0]) for found in pids(folder).values())


def test_signals_within_a_second_are_one(launcher, folder):
    """As `timeout` sends them. Passed on twice, the second would end the workers at once."""
    process = launcher(STOPPABLE)
    wait_until(both(folder, "ready"))
    process.send_signal(signal.SIGTERM)
    wait_until(both(folder, "stopping"))
    process.send_signal(signal.SIGTERM)
    time.sleep(0.2)
    (folder / "saved").touch()
    process.communicate(timeout=20)
    assert process.returncode == 42


def test_ctrl_c_in_a_terminal_reaches_the_workers_once(launcher, folder):
    process = launcher(STOPPABLE)
    wait_until(both(folder, "ready"))
    groups = {os.getpgid(found[0]) for found in pids(folder).values()}
    assert len(groups) == 2
    assert os.getpgid(process.pid) not in groups


def test_a_signal_between_two_starts_ends_the_job(launcher, folder):
    process = launcher("sys.exit(4)", max_restarts=3, first_delay_seconds=60)
    assert "restart 1 of 3 in 60 s" in process.stderr.readline()
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=20)
    assert process.returncode == 4
    assert [len(found) for found in pids(folder).values()] == [1, 1]


# Notes the process of its own that it starts, as if it were another start of the worker.
PARENT = """
import subprocess
signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = subprocess.Popen([sys.executable, "-S", "-c", "import time; time.sleep(60)"])
with open(log, "a") as file:
    print(child.pid, file=file)
time.sleep(60)
"""


def started_parents(launcher, folder, **settings):
    """Starts two workers with a child each; returns the launcher and the four process ids."""
    process = launcher(PARENT, **settings)
    wait_until(lambda: [len(found) for found in pids(folder).values()] == [2, 2])
    found = [pid for each in pids(folder).values() for pid in each]
    assert all(map(alive, found))
    return process, found


def test_workers_and_their_children_die_with_the_launcher(launcher, folder):
    """The kernel alone would kill the workers, but leave their children."""
    process, found = started_parents(launcher, folder)
    process.kill()
    wait_until(lambda: not any(map(alive, found)))


def test_the_children_of_a_worker_die_with_it(launcher, folder):
    process, _ = started_parents(launcher, folder, grace_seconds=30.0)
    worker, child = pids(folder)["1"]
    os.kill(worker, signal.SIGKILL)
    wait_until(lambda: not alive(child))
    assert process.poll() is None


def test_the_environment_of_a_worker_holds_its_part_of_the_gpus(monkeypatch, folder):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,6")
    assert run("pathlib.Path(f'gpu-{index}').write_text(os.environ['CUDA_VISIBLE_DEVICES'])") == 0
    assert [(folder / f"gpu-{index}").read_text() for index in (0, 1)] == ["4", "6"]
