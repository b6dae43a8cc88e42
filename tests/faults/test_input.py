"""A source of images that fails in mid-run."""

import re

import pytest

from tests.fixtures.commands import message

pytestmark = [pytest.mark.processes, pytest.mark.slow, pytest.mark.long]

FAULTS = {
    "source raises": "FaultyImages cannot give an example: OSError: the cable came out",
    "source ends": "FaultyImages cannot give an example: OutOfRangeError: no more",
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_source_that_fails(runs, completes, fault):
    """Row 17. As TensorFlow passes it on, it is a page of traceback and code 1."""
    finished = runs.run(fault, environment={"FAULT": fault, "FAULT_STEP": 20})
    assert finished.code == 4
    said = finished.error.partition(": error: ")[2].splitlines()
    assert said[0] == FAULTS[fault]
    assert "faults_plugin.py" in said[-1]
    assert runs.store(fault).steps() == [10]
    completes(fault)


def test_a_source_that_stalls(runs, completes):
    """Row 17. Without the watchdog it waits for ever."""
    limit = "--gin_param=train.stall_seconds = 10"
    finished = runs.run("stalled", limit, environment={"FAULT": "source stalls", "FAULT_STEP": 20})
    assert finished.code == 4
    doing = r"s in steps 1\d to (1\d|20), with input from FaultyImages; the stacks of all threads are in"
    assert re.search(doing, message(finished))
    assert "Thread 0x" in (runs.workdir("stalled") / "stacks.txt").read_text()
    assert runs.store("stalled").steps() == [10]
    completes("stalled", limit)
