"""Other processes are started in one way, and never outlive this one."""

import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest

from tests.fixtures.processes import alive
from vaeflow.runs import processes

pytestmark = pytest.mark.processes

REPOSITORY = pathlib.Path(__file__).parents[2]
SLEEP = [sys.executable, "-S", "-c", "import time; time.sleep(60)"]


def wait_until(condition):
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_child_is_killed_when_its_block_ends():
    with processes.child(SLEEP) as child:
        assert child.poll() is None
    assert child.returncode == -signal.SIGKILL


def test_a_child_dies_with_a_process_that_is_killed():
    program = (
        "import sys, time\nfrom vaeflow.runs import processes\n"
        f"with processes.child({SLEEP!r}) as child:\n    print(child.pid, flush=True)\n    time.sleep(60)"
    )
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    with subprocess.Popen(
        [sys.executable, "-c", program], env=environment, stdout=subprocess.PIPE, text=True
    ) as parent:
        child = int(parent.stdout.readline())
        assert alive(child)
        parent.kill()
        wait_until(lambda: not alive(child))


def test_what_a_program_prints():
    assert processes.output([sys.executable, "-S", "-c", "print('é')"]).strip() == "é"


@pytest.mark.parametrize("program", ["raise SystemExit(3)", "import time; time.sleep(60)"])
def test_a_program_that_fails_or_hangs_says_nothing(program):
    assert processes.output([sys.executable, "-S", "-c", program], seconds=1) is None


def test_a_program_that_does_not_exist_says_nothing():
    assert processes.output(["no-such-program"]) is None


def test_every_child_is_started_here():
    """So none can outlive its parent."""
    calls = ("subprocess.Popen(", "subprocess.run(", "subprocess.check_", "os.fork(", "os.spawn")
    starting = [
        path.relative_to(REPOSITORY).as_posix()
        for path in (REPOSITORY / "vaeflow").rglob("*.py")
        if any(call in path.read_text(encoding="utf-8") for call in calls)
    ]
    assert starting == ["vaeflow/runs/processes.py"]
