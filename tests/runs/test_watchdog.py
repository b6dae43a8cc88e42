"""A run that hangs or has lost a worker ends with code 4 and one line; a healthy one is left alone."""

import contextlib
import json
import re
import signal
import textwrap
import time

import pytest

from tests.fixtures.watched_programs import QUICK, TWO, finish, run, start
from vaeflow.devices.workers import Workers
from vaeflow.errors import EnvironmentFailure, Preempted, TrainingDiverged
from vaeflow.runs import watchdog as watchdog_module
from vaeflow.runs.watchdog import Watchdog


def last_beat(folder, index):
    return json.loads((folder / "workers" / f"{index}.json").read_text())


def test_no_progress_ends_the_process_inside_a_long_call(tmp_path):
    # The stacks must not be written to what somebody's link leads to.
    (tmp_path / "stacks.txt").symlink_to(tmp_path / "elsewhere")
    started = time.monotonic()
    code, out, error = run(
        tmp_path,
        """
        with watchdog(limit_seconds=0.2) as dog:
            dog.progress("step 1199")
            dog.progress("step 1200")
            print("printed before")
            busy()
        """,
    )
    assert code == 4
    assert time.monotonic() - started < 10
    assert out == "printed before\n"
    pattern = (
        r"vaeflow: error: no progress for 0 s in step 1200; the stacks of all threads are in (\S+); "
        r"run the same command to resume from the last checkpoint\n"
    )
    path = re.fullmatch(pattern, error)[1]
    assert path == str(tmp_path / "stacks.txt")
    stacks = (tmp_path / "stacks.txt").read_text()
    assert "in busy" in stacks
    assert stacks.count("Thread 0x") >= 2
    assert not (tmp_path / "workers").exists()
    assert not (tmp_path / "elsewhere").exists()


def test_where_the_folder_is_gone_the_stacks_go_to_stderr(tmp_path):
    code, _, error = run(tmp_path / "gone", "with watchdog(limit_seconds=0.1): busy()")
    assert code == 4
    assert error.startswith("vaeflow: error: no progress for 0 s in the start; ")
    assert "in busy" in error


@pytest.mark.slow
def test_progress_keeps_it_quiet(tmp_path):
    code, out, error = run(
        tmp_path,
        """
        with watchdog(limit_seconds=0.3) as dog:
            for step in range(12):
                dog.progress(f"step {step}")
                time.sleep(0.05)
            dog.progress("compiling", limit_seconds=20)
            time.sleep(0.6)
        time.sleep(0.6)
        print("done")
        """,
    )
    assert (code, out, error) == (0, "done\n", "")


@pytest.mark.slow
def test_time_in_which_the_process_was_stopped_does_not_count(tmp_path):
    process = start(
        tmp_path,
        """
        with watchdog(limit_seconds=1.0):
            print("ready", flush=True)
            for _ in range(5):
                time.sleep(0.1)
        """,
    )
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGSTOP)
    time.sleep(1.5)
    process.send_signal(signal.SIGCONT)
    assert finish(process)[0] == 0


def worker(folder, index, body, **changes):
    settings = ", ".join(f"{name}={value}" for name, value in changes.items())
    header = f"with watchdog({index}, {settings}) as dog:\n    dog.wait_for_peers()\n"
    return start(folder, header + textwrap.indent(textwrap.dedent(body).strip("\n"), "    "))


def wait_until(condition):
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def started_pair(folder, body, **changes):
    """Two workers in processes of their own that have met, and then do `body`."""
    pair = [worker(folder, index, 'print("met", flush=True)\n' + body, **changes) for index in (0, 1)]
    for process in pair:
        assert process.stdout.readline() == "met\n"
    return pair


def test_two_workers_meet_and_end(tmp_path):
    pair = [worker(tmp_path, index, "dog.progress('step 5')\nprint('trained')") for index in (0, 1)]
    for index, process in enumerate(pair):
        assert finish(process) == (0, "trained\n", "")
        assert (last_beat(tmp_path, index)["ended"], last_beat(tmp_path, index)["doing"]) == (0, "step 5")


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_a_killed_or_frozen_worker_ends_the_other_in_a_long_call(tmp_path, number):
    stays, goes = started_pair(tmp_path, "busy()")
    sent = time.monotonic()
    goes.send_signal(number)
    code, _, error = finish(stays)
    seconds = time.monotonic() - sent
    goes.kill()
    finish(goes)
    assert code == 4
    assert 1 < seconds < 8
    assert error == (
        "vaeflow: error: worker 1 (b:2) has not been heard of for 1 s; run the same command to resume "
        "from the last checkpoint\n"
    )
    assert last_beat(tmp_path, 0)["ended"] == 4
    assert last_beat(tmp_path, 0)["reason"].startswith("worker 1 (b:2) has not been heard of")


@pytest.mark.slow
def test_a_failure_that_would_repeat_ends_the_others_with_the_same_code(tmp_path):
    body = """
    from vaeflow.errors import ConfigurationError
    if sys.stdin.readline() == "raise\\n":
        raise ConfigurationError("a typo")
    busy()
    """
    stays, goes = started_pair(tmp_path, textwrap.dedent(body))
    stays.stdin.write("go on\n")
    stays.stdin.flush()
    goes.stdin.write("raise\n")
    goes.stdin.flush()
    assert finish(goes)[0] == 1
    # Nobody is told to run the same command again.
    assert finish(stays)[::2] == (2, "vaeflow: error: worker 1 (b:2) ended with code 2: a typo\n")


@pytest.mark.slow
def test_the_main_thread_may_explain_its_own_failure(tmp_path):
    # As with TensorFlow's UnavailableError: it comes long before the other is known to be lost.
    body = """
    try:
        sys.stdin.readline()
        raise OSError("Socket closed")
    except OSError:
        sys.exit(str(dog.explain_failure()))
    """
    stays, goes = started_pair(tmp_path, textwrap.dedent(body), peer_seconds=1.0)
    goes.kill()
    finish(goes)
    code, _, error = finish(stays)
    assert code == 1
    assert error == (
        "worker 1 (b:2) has not been heard of for 1 s; run the same command to resume from the last "
        "checkpoint\n"
    )


@pytest.mark.slow
def test_a_failure_without_a_lost_worker_has_no_explanation(tmp_path):
    pair = started_pair(tmp_path, "print(dog.explain_failure(), flush=True)\nsys.stdin.readline()")
    for process in pair:
        assert process.stdout.readline() == "None\n"
    for process in pair:
        assert finish(process)[0] == 0
    with Watchdog(tmp_path, **QUICK) as watchdog:
        watchdog.wait_for_peers()
        assert watchdog.explain_failure() is None


@pytest.mark.slow
def test_a_restarted_job_is_not_held_up_by_the_files_of_the_last(tmp_path):
    for process in started_pair(tmp_path, "busy()"):
        process.kill()
        finish(process)
    for process in started_pair(tmp_path, "dog.progress('step 6')"):
        assert finish(process)[0] == 0


def test_a_worker_that_never_came_is_named(tmp_path):
    with Watchdog(tmp_path, Workers((*TWO, "c:3"), 1), **QUICK | {"start_seconds": 0.2}) as watchdog:
        expected = r"^worker 0 \(a:1\), worker 2 \(c:3\) did not start within 0 s; start all"
        with pytest.raises(EnvironmentFailure, match=expected):
            watchdog.wait_for_peers()


@pytest.mark.slow
def test_a_worker_with_a_bad_configuration_ends_the_wait_of_the_others(tmp_path):
    waiting = worker(tmp_path, 0, "")
    wait_until((tmp_path / "workers" / "0.json").exists)
    # It beats at its start and its end only: in between it would join the other, if it were slow.
    run(tmp_path, "from vaeflow.errors import ConfigurationError\n"
        "with watchdog(1, beat_seconds=60.0): raise ConfigurationError('a typo\\nand more')")  # fmt: skip
    code, _, error = finish(waiting)
    assert code == 1
    assert error.splitlines()[-1].endswith("WorkerLost: worker 1 (b:2) ended with code 2: a typo")


@pytest.mark.slow
def test_workers_that_do_not_get_connected_are_told(tmp_path):
    other = worker(tmp_path, 1, "busy()")
    waits = worker(tmp_path, 0, "busy()", start_seconds=1.5)
    code, _, error = finish(waits)
    assert code == 4
    assert "s in the connection of the workers, whose ports must be reachable; the stacks" in error
    assert "in busy" in (tmp_path / "stacks-worker-0.txt").read_text()
    code, _, error = finish(other)
    assert code == 4
    assert error == (
        "vaeflow: error: worker 0 (a:1) ended with code 4: no progress for 2 s in the connection of the "
        "workers, whose ports must be reachable; run the same command to resume from the last checkpoint\n"
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("error", "code", "reason"),
    [
        (None, 0, None),
        (Preempted("SIGTERM at step 3"), 42, "SIGTERM at step 3"),
        (TrainingDiverged("a\nb"), 3, "a"),
        (KeyboardInterrupt(), 130, None),
        (RuntimeError(), 1, None),
    ],
)
def test_the_last_beat_says_how_it_ended(tmp_path, error, code, reason):
    with contextlib.suppress(Exception, KeyboardInterrupt), Watchdog(tmp_path, Workers(TWO, 0), **QUICK):
        if error is not None:
            raise error
    time.sleep(0.1)  # Nothing may be written over it.
    last = last_beat(tmp_path, 0)
    assert (last["ended"], last["reason"]) == (code, reason)


@pytest.mark.slow
def test_without_its_own_chief_a_worker_writes_nothing(tmp_path):
    """The chief of a second job is refused; the first job would take the other worker for its own."""
    first = worker(tmp_path, 0, "busy()")
    wait_until((tmp_path / "workers" / "0.json").exists)
    settings = QUICK | {"start_seconds": 0.5}
    second = Watchdog(tmp_path, Workers(("a:9", "b:9"), 1), **settings)
    with second, pytest.raises(EnvironmentFailure, match="did not start"):
        second.wait_for_peers()
    first.kill()
    finish(first)
    assert [path.name for path in (tmp_path / "workers").iterdir()] == ["0.json"]


@pytest.mark.slow
def test_a_command_reports_to_the_watchdog_that_was_started_last(tmp_path):
    """The outer one, which hears nothing, must not end the process."""
    code, out, error = run(
        tmp_path,
        """
        from vaeflow.runs.watchdog import progress
        with watchdog(limit_seconds=0.3), watchdog(limit_seconds=20.0):
            time.sleep(0.8)
            print("alive", flush=True)
        with watchdog(limit_seconds=20.0, resumes=False) as dog:
            dog.configure(dog._folder, 0.2)
            progress("batch 3 of 7")
            busy()
        """,
    )
    assert (code, out) == (4, "alive\n")
    assert error.startswith("vaeflow: error: no progress for 0 s in batch 3 of 7; the stacks of")
    assert error.endswith("; run the same command again\n")


def test_nobody_need_watch():
    watchdog_module.progress("anything")
    watchdog_module.configure(".", 1.0)


def test_a_folder_that_cannot_be_written_is_told_at_once(tmp_path):
    (tmp_path / "workers").write_text("a file")
    with pytest.raises(EnvironmentFailure, match=r"workers cannot be written"):
        Watchdog(tmp_path, Workers(TWO, 0)).__enter__()
