"""A process that is ended while it makes and removes files leaves nothing behind, and says why it ended."""

import os
import pathlib
import signal
import subprocess
import sys

import pytest

REPOSITORY = pathlib.Path(__file__).parents[2]

# Writes a file, replaces a folder, makes one that goes, and removes another. In the call to the disk with
# the number of the first argument a signal comes, and that call takes half a second more.
SLOW_DISK = """
import os, pathlib, signal, sys, time
from vaeflow.runs import files, signals

signals.watch()
left = int(sys.argv[1])
if sys.argv[2] == "without exchange":
    files.exchange = lambda *_: False

def slowly(call):
    def called(*arguments, **options):
        global left
        found = call(*arguments, **options)
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(0.5)
        return found
    return called

for name in ("mkdir", "open", "rename", "unlink", "rmdir"):
    setattr(os, name, slowly(getattr(os, name)))

here = pathlib.Path("work").absolute()
files.write_text(here / "a.json", "new")
with files.staging(here, "export") as folder:
    files.write_text(folder / "b.json", "new")
    files.move(folder, here / "export")
with files.staging(here, "temporary") as folder:
    files.write_text(folder / "c.json", "new")
files.remove_folder(here / "checkpoint")
print(left, flush=True)
if left < 1:
    time.sleep(60)
"""
MANY = 10**6

# A thread writes a file while it holds what the report needs, as the one that sends heartbeats.
HELD = """
import pathlib, threading, time
from vaeflow.runs import ending, files

lock, held = threading.Lock(), threading.Event()

def beat():
    with lock:
        held.set()
        time.sleep(0.3)
        files.write_text(pathlib.Path("beat"), "1")

def report():
    with lock:
        files.write_text(pathlib.Path("last beat"), "2")

threading.Thread(target=beat, daemon=True).start()
held.wait()
ending.end_at_once(4, report)
"""


@pytest.fixture(params=["exchange", "without exchange"])
def started(request, tmp_path):
    """Starts the program in a folder of its own; the signal comes in the call of this number."""

    def start(number):
        work = tmp_path / str(number) / "work"
        for folder in ("export", "checkpoint"):
            (work / folder).mkdir(parents=True)
            (work / folder / "old.json").touch()
        return subprocess.Popen(
            [sys.executable, "-c", SLOW_DISK, str(number), request.param],
            cwd=work.parent,
            env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    return start


@pytest.mark.slow
@pytest.mark.processes
def test_a_signal_in_each_call_to_a_slow_disk(tmp_path, started):
    out, error = started(MANY).communicate(timeout=60)
    num_calls = MANY - int(out)
    assert num_calls > 20, error
    disturbed = {number: started(number) for number in range(1, num_calls + 1)}
    errors = {number: process.communicate(timeout=60)[1] for number, process in disturbed.items()}
    assert {process.returncode for process in disturbed.values()} == {128 + signal.SIGTERM}
    assert set(errors.values()) == {"vaeflow: stopped by SIGTERM\n"}
    for number in disturbed:
        work = tmp_path / str(number) / "work"
        assert {path.name for path in work.iterdir()} <= {"a.json", "export", "checkpoint"}, number
        assert [path.name for path in (work / "export").iterdir()] in (["old.json"], ["b.json"]), number


@pytest.mark.processes
def test_a_report_may_wait_for_a_thread_that_writes(tmp_path):
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    ended = subprocess.run([sys.executable, "-c", HELD], cwd=tmp_path, env=environment, timeout=60)
    assert ended.returncode == 4
    assert {path.name for path in tmp_path.iterdir()} == {"beat", "last beat"}
