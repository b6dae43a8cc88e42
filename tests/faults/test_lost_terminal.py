"""Nobody reads what a run says any more: it goes on, or it is stopped with its state saved."""

import contextlib
import os
import pty
import sys

import pytest

from tests.fixtures.commands import FIXTURES, REPOSITORY, Command

pytestmark = [pytest.mark.processes, pytest.mark.slow, pytest.mark.long]

CALLBACKS = "[@Progress(), @Evaluation(), @Images(), @Summaries(), @Fault(), @Checkpoints()]"
PROGRESS = f"--gin_param=train.callbacks = {CALLBACKS}"


@pytest.mark.parametrize("streams", ["closed", "without a reader"])
def test_a_run_without_streams_goes_on_to_its_end(runs, streams):
    """Without safe streams the first line ends it, or its data take the number of a stream."""
    name = f"streams {streams}"
    flags = ["--gin_file=tiny.gin", f"--workdir=runs/{name}", "--plugin=faults_plugin", PROGRESS]
    finished = Command("tests.fixtures.lost_streams", flags, runs.folder, {"STREAMS": streams}).finish()
    assert (finished.code, finished.out, finished.error) == (0, "", "")
    assert runs.lines(name) == runs.lines("undisturbed")


def test_a_closed_terminal_stops_a_run_with_its_state_saved(runs, completes):
    """The terminal sends SIGHUP, and refuses what is written from then on."""
    name = "terminal"
    flags = ["--gin_file=tiny.gin", f"--workdir=runs/{name}", "--plugin=faults_plugin", PROGRESS]
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(runs.folder)
        paths = os.pathsep.join([str(REPOSITORY), str(FIXTURES)])
        environment = os.environ | {"PYTHONPATH": paths, "PAUSE_SECONDS": "1", "TERM": "xterm"}
        os.execve(sys.executable, [sys.executable, "-m", "launch.train", *flags], environment)
    shown = b""
    with contextlib.suppress(OSError):
        while b"step 10/" not in shown:
            shown += os.read(terminal, 4096)
    os.close(terminal)
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 42, shown
    assert runs.store(name).steps()[-1] >= 10
    completes(name, PROGRESS)
