"""Runs of a study on this machine: tiny programs in place of vaeflow's commands."""

import os
import sys
import time

import pytest

from tests.fixtures.processes import alive
from vaeflow.commands.studies import plan, running
from vaeflow.commands.studies.here import Here
from vaeflow.commands.studies.place import Job
from vaeflow.errors import ConfigurationError, EnvironmentFailure
from vaeflow.runs.signals import StopRequest

pytestmark = pytest.mark.processes

# Says that it runs, and waits for SIGTERM, as a training does.
WAITING = """
import signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: (print("vaeflow train: preempted: saved"), sys.exit(42)))
print("waits", flush=True)
time.sleep(60)
"""


@pytest.fixture(autouse=True)
def programs(monkeypatch):
    """Runs the first argument of a command as a Python program; no GPU is there."""
    monkeypatch.setattr(
        running.interpreter, "command", lambda _module, *arguments: [sys.executable, "-S", "-c", *arguments]
    )
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")


def job(folder, index, *programs):
    run = plan.planned_run(index, {"A.x": str(index)}, 0)
    return Job(run, tuple((program,) for program in programs), "", str(folder / f"{index}.log"))


def carry_out(jobs, place=None, cores_each=None, stop_request=None, watch=lambda _: ()):
    """Carries out jobs; returns their ends in the order in which they came."""
    return list((place or Here()).carry_out(iter(jobs), cores_each, stop_request or StopRequest(), watch))


def log(folder, index=0):
    return (folder / f"{index}.log").read_text()


def test_the_commands_of_a_job_follow_one_another(tmp_path):
    (tmp_path / "0.log").write_text("of before\n")
    [end] = carry_out([job(tmp_path, 0, "print(1)", "import sys; print(2, file=sys.stderr)")])
    assert (end.exit_code, end.message) == (0, "")
    assert log(tmp_path) == "of before\n1\n2\n"


def test_the_first_command_that_fails_is_the_last(tmp_path):
    failing = "print('vaeflow evaluate: error: no disk\\n  at all'); raise SystemExit(4)"
    [end] = carry_out([job(tmp_path, 0, "print(1)", failing, "print(3)")])
    assert (end.exit_code, end.message) == (4, "no disk\n  at all")
    assert "3" not in log(tmp_path)


@pytest.mark.parametrize(
    ("program", "code", "message"),
    [
        ("import os; os.kill(os.getpid(), 9)", 137, "ended by SIGKILL"),
        ("1 / 0", 1, "ZeroDivisionError: division by zero"),
        ("raise SystemExit(2)", 2, ""),
    ],
)
def test_an_end_without_a_message_of_vaeflow(tmp_path, program, code, message):
    (tmp_path / "0.log").write_text("vaeflow train: error: of an earlier start\n")
    [end] = carry_out([job(tmp_path, 0, program)])
    assert (end.exit_code, end.message) == (code, message)


def test_one_job_runs_at_a_time_on_a_cpu(tmp_path):
    seen = []
    jobs = [job(tmp_path, index, "import time; time.sleep(0.1)") for index in range(2)]
    ends = carry_out(jobs, watch=lambda running: seen.append(len(running)) or ())
    assert [end.job for end in ends] == jobs
    assert set(seen) == {1}


def test_jobs_take_a_gpu_each(tmp_path, monkeypatch):
    """With one at a time, none would ever see the file of the other."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,5")
    program = (
        "import os, pathlib, time\n"
        f"folder = pathlib.Path({str(tmp_path)!r})\n"
        "(folder / ('gpu' + os.environ['CUDA_VISIBLE_DEVICES'])).touch()\n"
        "deadline = time.monotonic() + 20\n"
        "while len(list(folder.glob('gpu*'))) < 2 and time.monotonic() < deadline: time.sleep(0.01)"
    )
    carry_out([job(tmp_path, index, program) for index in range(2)])
    assert {path.name for path in tmp_path.glob("gpu*")} == {"gpu3", "gpu5"}


def test_jobs_share_the_cores(tmp_path):
    cores = sorted(os.sched_getaffinity(0))
    program = "import os, time; print(os.sched_getaffinity(0)); time.sleep(0.2)"
    carry_out([job(tmp_path, index, program) for index in range(len(cores))], cores_each=1)
    assert sorted(log(tmp_path, index) for index in range(len(cores))) == sorted(
        f"{{{core}}}\n" for core in cores
    )
    assert os.sched_getaffinity(0) == set(cores)


def test_a_limit_holds_whatever_there_is(tmp_path, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,5")
    program = "import os; print(os.environ['CUDA_VISIBLE_DEVICES'])"
    carry_out([job(tmp_path, index, program) for index in range(2)], Here(most_at_once=1))
    assert [log(tmp_path, index) for index in range(2)] == ["3\n", "3\n"]


def test_more_cores_than_there_are_cannot_be_asked_for(tmp_path):
    with pytest.raises(ConfigurationError, match="must be at most the number of cores"):
        carry_out([job(tmp_path, 0, "")], cores_each=1000)


def test_a_stop_lets_the_jobs_under_way_save_and_takes_no_other(tmp_path):
    stop_request = StopRequest()

    def watch(running):
        if (tmp_path / "0.log").exists() and "waits" in log(tmp_path):
            stop_request.ask("SIGTERM")
        return ()

    jobs = iter([job(tmp_path, 0, WAITING, "print('after')"), job(tmp_path, 1, "")])
    [end] = carry_out(jobs, stop_request=stop_request, watch=watch)
    assert (end.exit_code, end.message) == (42, "saved")
    assert "after" not in log(tmp_path)
    assert next(jobs).run.index == 1


def test_a_training_that_finishes_after_a_stop_is_not_followed_by_its_commands(tmp_path):
    stop_request = StopRequest()
    finishing = WAITING.replace("sys.exit(42)", "sys.exit(0)")

    def watch(running):
        if "waits" in log(tmp_path):
            stop_request.ask("SIGINT")
        return ()

    [end] = carry_out([job(tmp_path, 0, finishing, "print('after')")], stop_request=stop_request, watch=watch)
    assert end.exit_code == 42
    assert end.message.startswith("stopped before `vaeflow ")


def test_a_job_that_is_not_wanted_ends_early_and_others_go_on(tmp_path):
    def watch(running):
        return running if running[0].run.index == 0 and "waits" in log(tmp_path) else ()

    ends = carry_out([job(tmp_path, 0, WAITING), job(tmp_path, 1, "print(1)")], watch=watch)
    assert [(end.job.run.index, end.exit_code) for end in ends] == [(0, 42), (1, 0)]


def test_what_runs_is_killed_when_nobody_waits_for_it_any_more(tmp_path):
    """Its own children too, which a plain kill would leave behind."""
    program = (
        "import os, subprocess, sys\n"
        "child = subprocess.Popen([sys.executable, '-S', '-c', 'import time; time.sleep(60)'])\n"
        "print(os.getpid(), child.pid, flush=True); child.wait()"
    )
    first = job(tmp_path, 0, program)
    ends = Here().carry_out(iter([first, job(tmp_path, 1, "")]), None, StopRequest(), watch_for(tmp_path))
    with pytest.raises(InterruptedError):
        next(ends)
    pids = [int(pid) for pid in log(tmp_path).split()]
    deadline = time.monotonic() + 5
    while any(map(alive, pids)) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not any(map(alive, pids))


def watch_for(folder):
    """A watch that fails once the first job has written its log."""

    def watch(running):
        if log(folder):
            raise InterruptedError
        return ()

    return watch


def test_a_log_that_cannot_be_written_is_told(tmp_path):
    (tmp_path / "0.log").mkdir()
    with pytest.raises(EnvironmentFailure, match="cannot be started"):
        carry_out([job(tmp_path, 0, "")])
