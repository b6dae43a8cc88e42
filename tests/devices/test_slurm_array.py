"""Which part of a study a task of Slurm's job array has, and that its runs are single processes."""

import pytest

from vaeflow.devices.slurm_array import Part, find_part, parse_part
from vaeflow.devices.workers import find_workers
from vaeflow.errors import ConfigurationError


def array(task, first, last, step=1, count=None):
    """The variables of a task, as sbatch sets them."""
    count = len(range(first, last + 1, step)) if count is None else count
    values = {"ID": task, "COUNT": count, "MIN": first, "MAX": last, "STEP": step}
    return {f"SLURM_ARRAY_TASK_{name}": str(value) for name, value in values.items()}


def test_there_is_no_part_outside_an_array():
    assert find_part({}) is None
    assert find_part({"SLURM_JOB_ID": "7"}) is None


@pytest.mark.parametrize(
    ("environ", "index", "count"),
    [
        (array(0, 0, 29), 0, 30),
        (array(29, 0, 29), 29, 30),
        (array(3, 1, 4), 2, 4),
        (array(14, 10, 18, 4), 1, 3),
        (array(5, 5, 5), 0, 1),
    ],
)
def test_a_task_has_its_place_in_the_range(environ, index, count):
    assert find_part(environ) == Part(index, count)


@pytest.mark.parametrize(
    ("environ", "said"),
    [
        (array(7, 3, 7, count=2), "--array=0-1"),
        (array(4, 3, 7, 2), "form no range"),
        ({**array(0, 0, 3), "SLURM_ARRAY_TASK_MAX": ""}, "SLURM_ARRAY_TASK_MAX is ''"),
        ({**array(0, 0, 3), "SLURM_ARRAY_TASK_ID": "x"}, "SLURM_ARRAY_TASK_ID is 'x'"),
    ],
)
def test_what_names_no_part_is_refused(environ, said):
    with pytest.raises(ConfigurationError, match=said):
        find_part(environ)


def test_a_part_can_be_typed():
    assert parse_part("3/30") == Part(3, 30)


@pytest.mark.parametrize("text", ["", "3", "3/3", "-1/3", "a/b", "1/2/3"])
def test_a_part_of_another_form_is_refused(text):
    with pytest.raises(ConfigurationError, match="INDEX/COUNT"):
        parse_part(text)


def test_a_run_in_a_task_of_an_array_is_a_single_process():
    """Of the batch script, whose step has no number for `srun`, and of an `srun` of one task in it."""
    environ = array(2, 0, 9) | {"SLURM_JOB_ID": "12", "SLURM_NTASKS": "1", "SLURM_JOB_NODELIST": "gpu[01-02]"}
    assert find_workers(environ) is None
    step = {"SLURM_STEP_ID": "0", "SLURM_STEP_NUM_TASKS": "1", "SLURM_STEP_NODELIST": "gpu01"}
    assert find_workers(environ | step) is None
