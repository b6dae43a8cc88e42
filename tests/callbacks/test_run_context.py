"""A callback can end its run."""

import pytest

from tests.fixtures import tiny_runs
from vaeflow import callbacks
from vaeflow.callbacks import Callback, Checkpoints
from vaeflow.errors import Preempted


class StopAt(Callback):
    """Ends the run at a step."""

    def __init__(self, step):
        super().__init__()
        self.step = step

    def on_log(self, run, metrics):
        if run.step == self.step:
            run.stop("the time limit")


@pytest.mark.slow
def test_a_callback_ends_the_run_with_its_reason_and_the_state_saved(tmp_path):
    with pytest.raises(Preempted, match="the time limit at step 10: the state is saved"):
        tiny_runs.train(tmp_path, callbacks=[Checkpoints(), StopAt(10)])
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["step-00000010"]


@pytest.mark.long
def test_the_same_command_resumes_after_a_callback_ended_the_run(tmp_path):
    with pytest.raises(Preempted):
        tiny_runs.train(tmp_path, callbacks=[Checkpoints(), StopAt(10)])
    assert tiny_runs.train(tmp_path, callbacks=[Checkpoints(), StopAt(10)])["step"] == 20


def test_plug_ins_find_the_run_under_its_former_name():
    assert callbacks.Run is callbacks.RunContext
