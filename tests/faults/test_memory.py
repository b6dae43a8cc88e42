"""Memory that runs out on a replica."""

import pytest

from tests.fixtures.commands import message

pytestmark = [pytest.mark.processes, pytest.mark.slow, pytest.mark.long]


def test_out_of_memory_in_a_step(runs, completes):
    """Row 18. As TensorFlow tells it, it is a page of traceback and code 1."""
    finished = runs.run("hungry", environment={"FAULT": "out of memory", "FAULT_STEP": 25})
    assert finished.code == 4
    line = message(finished)
    assert line.startswith("launch.train: error: out of memory: OOM when allocating tensor with shape[")
    assert "lower `train.batch_size`" in line
    assert line.endswith("the last checkpoint is kept")
    assert runs.store("hungry").steps() == [10, 20]
    completes("hungry")
