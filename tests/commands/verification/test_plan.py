"""Which steps are repeated, and in which ways."""

import pytest

from tests.fixtures.recorded_runs import edit, recorded_folder
from vaeflow.commands.verification import plan
from vaeflow.commands.verification.recorded import Recorded
from vaeflow.errors import ConfigurationError


@pytest.fixture
def folder(tmp_path):
    return recorded_folder(tmp_path / "run")


def chosen(folder, checkpoint):
    """Start, end, whether a checkpoint is at the end, and whether the start is measured, of each interval."""
    found = plan.intervals(Recorded(folder), checkpoint, folder.parent)
    return [(each.start, each.end, each.end_checkpoint is not None, each.measures_start) for each in found]


def test_all_are_the_start_and_the_kept_checkpoints(folder):
    assert chosen(folder, "all") == [
        (0, 5, False, False),
        (10, 15, False, True),
        (20, None, False, True),
    ]


def test_the_last_is_the_newest_and_the_newest_with_a_line_after_it(folder):
    assert chosen(folder, "last") == [(10, 15, False, True), (20, None, False, True)]


def test_one_step_and_the_checkpoint_whose_weights_the_result_names(folder):
    assert chosen(folder, "0") == [(0, 5, False, False), (20, None, False, False)]
    (folder / "result.json").unlink()
    assert chosen(folder, "10") == [(10, 15, False, True)]


def test_steps_that_end_at_a_checkpoint_measure_it_there(tmp_path):
    folder = recorded_folder(tmp_path / "run", steps=(10, 20))
    assert chosen(folder, "all") == [(0, 10, True, False), (10, 20, True, False), (20, None, False, False)]


def test_a_damaged_checkpoint_is_left_out(folder):
    (folder / "checkpoints" / "step-00000010" / "variables.index").write_bytes(b"")
    assert [each[0] for each in chosen(folder, "all")] == [0, 20]


@pytest.mark.parametrize("checkpoint", ["15", "best", "x"])
def test_what_is_no_checkpoint_is_refused(folder, checkpoint):
    with pytest.raises(ConfigurationError, match="give all, last, or one of the steps 0, 10, 20"):
        chosen(folder, checkpoint)


def ways(folder, precision="float32", **placement):
    edit(folder / "environment.json", placement={"replicas": 1, "kind": "CPU", "workers": 1} | placement)
    return [each.name for each in plan.ways(Recorded(folder), precision, True, True)]


def test_the_ways_of_a_run(folder):
    assert ways(folder) == ["as it was run", "on 2 replicas", "in float64"]
    assert ways(folder, replicas=2) == ["as it was run", "on 1 replica", "in float64"]
    assert ways(folder, "float64") == ["as it was run", "on 2 replicas"]


def test_several_workers_become_devices_here(folder):
    names = ways(folder, replicas=4, workers=2)
    assert names == ["on 4 devices here for 2 workers", "on 1 replica", "in float64"]
