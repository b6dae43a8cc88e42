"""SIGKILL at the worst moments: while a checkpoint, a log or the result is being written."""

import json
import signal

import pytest

from tests.fixtures.commands import message

pytestmark = [pytest.mark.processes, pytest.mark.slow, pytest.mark.long]


def kill(runs, name, fault, step):
    finished = runs.run(name, environment={"FAULT": fault, "FAULT_STEP": step})
    assert finished.code == -signal.SIGKILL, finished
    store = runs.store(name)
    # Nothing that is half-written has a final name.
    assert {step: store.problem_with(step) for step in store.steps()} == dict.fromkeys(store.steps())
    assert not (runs.workdir(name) / "result.json").exists()
    return store.steps()


def test_one_run_killed_at_every_stage_of_a_checkpoint(runs, completes):
    """Row 1. Written under its final name, or renamed before its record is there, one is refused here."""

    def left(name):
        unfinished = (runs.workdir(name) / "checkpoints").glob(".unfinished*")
        return {path.name.rpartition("-")[0] for path in unfinished}

    assert kill(runs, "stages", "kill in the data", 20) == [10]
    assert left("stages") == {".unfinished-step-00000020"}
    assert kill(runs, "stages", "kill before the record", 30) == [10, 20]
    # The next save removed the first.
    assert left("stages") == {".unfinished-step-00000030"}
    assert kill(runs, "stages", "kill before the commit", 40) == [10, 20, 30]
    assert left("stages") == {".unfinished-step-00000040"}
    assert kill(runs, "stages", "kill after the commit", 50) == [20, 30, 40, 50]
    # Of the one of step 20, which is no longer kept, half is gone when the kill comes.
    assert kill(runs, "stages", "kill while an old one is removed", 60)[-1] == 60
    assert len(left("stages")) == 1
    completes("stages")


def test_before_the_first_checkpoint_the_run_starts_anew(runs, completes):
    """Row 1. Where the log of the lost steps is kept, they come twice."""
    assert kill(runs, "early", "kill", 10) == []
    completes("early")


def test_a_kill_in_a_line_of_the_log_and_around_the_result(runs, completes):
    """A reader that stops at half a line, or takes a half-written result for the end, fails here."""
    # Saved before the evaluation, of which the line is.
    assert kill(runs, "files", "kill in a line of metrics", 30) == [10, 20, 30]
    assert runs.text("files").endswith('"examples_seen": 24')
    assert kill(runs, "files", "kill before the result", 60)[-1] == 60
    assert kill(runs, "files", "kill in the result", 60)[-1] == 60
    completes("files")


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def truncate(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def test_damaged_checkpoints_are_refused_by_name_and_never_all_of_them(runs, completes):
    """Row 5. Without the sums the flipped bit ends each start with TensorFlow's traceback."""
    assert kill(runs, "damaged", "kill", 50) == [20, 30, 40]
    store = runs.store("damaged")
    flip(store.path(40) / "variables.data-00000-of-00001")
    (store.path(30) / "record.json").unlink()
    error = completes("damaged").error
    assert "step-00000040: variables.data-00000-of-00001 differs from what was written" in error
    assert "step-00000030: record.json is unreadable" in error
    environment = json.loads((runs.workdir("damaged") / "environment.json").read_text())
    assert environment["resumed"] == "at step 20"

    (runs.workdir("damaged") / "result.json").unlink()
    for step in store.steps():
        truncate(store.path(step) / "variables.index")
    before = runs.text("damaged")
    finished = runs.run("damaged")
    assert finished.code == 4
    count = len(store.steps())
    assert f"none of the {count} checkpoints in runs/damaged/checkpoints is intact" in message(finished)
    assert runs.text("damaged") == before
    assert count >= 3
    assert not (runs.workdir("damaged") / "result.json").exists()
