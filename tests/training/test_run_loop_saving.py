"""Saves that go on while a run trains: when they are waited for, and how what they fail with ends the run."""

import math
import threading
import time
import types

import pytest
import tensorflow as tf

from tests.fixtures import tiny_runs
from tests.fixtures.disk import SlowDisk
from tests.training.test_run_loop import Steps
from vaeflow.callbacks import Callback, Checkpoints, RunContext
from vaeflow.errors import Preempted, TrainingDiverged
from vaeflow.runs.checkpoints import CheckpointStore
from vaeflow.runs.signals import StopRequest
from vaeflow.runs.totals import Totals
from vaeflow.training import run_loop
from vaeflow.training.settings import TrainingSettings


class Training(Steps):
    """Stands for a `Trainer` in loops of 5 steps, whose state is its step."""

    settings = TrainingSettings(batch_size=8, steps_per_loop=5)

    def __init__(self):
        super().__init__(tf.distribute.get_strategy(), self._keep_step)
        self.state = tf.train.Checkpoint(model=[tf.Variable(0.0)])

    def checkpoint(self):
        return self.state

    def take_totals(self):
        self.totals = Totals()

    def _keep_step(self, step):
        self.state.model[0].assign(step)


class After(Callback):
    """Calls a function with the run after a step."""

    def __init__(self, step, function):
        super().__init__()
        self.step, self.function = step, function

    def on_log(self, run, metrics):
        if run.step == self.step:
            self.function(run)


@pytest.fixture
def run(tmp_path):
    """A run of 20 steps, of whose log the steps are kept in `logged`."""
    logged = []
    workdir = types.SimpleNamespace(
        writable=True, append_metrics=lambda line: logged.append(line["step"]), logged=logged
    )
    store = CheckpointStore(tmp_path / "checkpoints", best_metric="score")
    return RunContext(Training(), None, None, workdir, store, StopRequest(), 20, "", "", {})


def train(run, *callbacks):
    run_loop.train_to_end(run, callbacks, types.SimpleNamespace(progress=lambda doing: None))


def test_the_training_goes_on_while_the_disk_is_busy_and_its_last_save_is_waited_for(run, monkeypatch):
    slow_disk, seen = SlowDisk(monkeypatch), []
    look = After(15, lambda run: seen.append(run.checkpoints.steps()))
    train(run, Checkpoints(10), look, After(15, lambda run: slow_disk.release()))
    assert seen == [[]]
    assert run.checkpoints.steps() == [10, 20]
    assert [run.checkpoints.read_weights(step)["model"] for step in (10, 20)] == [[10.0], [20.0]]


def test_what_a_save_fails_with_ends_the_run_at_the_next_loop(run):
    """The next save comes at step 20."""

    def wait_until_saved(run):
        while any(thread.name == "checkpoint" for thread in threading.enumerate()):
            time.sleep(0.01)

    spoil = After(10, lambda run: run.trainer.state.model[0].assign(math.nan))
    with pytest.raises(TrainingDiverged, match="after step 10, model/0 is not finite; it was not saved"):
        train(run, spoil, Checkpoints(10), After(10, wait_until_saved))
    assert run.workdir.logged == [5, 10]
    assert run.checkpoints.steps() == []


def test_a_run_that_fails_waits_for_the_save_under_way(run, monkeypatch):
    slow_disk = SlowDisk(monkeypatch)
    release = After(5, lambda run: threading.Timer(0.1, slow_disk.release).start())
    with pytest.raises(KeyboardInterrupt):
        train(run, Checkpoints(5), release, tiny_runs.Break(5))
    assert run.checkpoints.steps() == [5]


def test_what_a_save_fails_with_is_told_rather_than_what_failed_after_it(run, monkeypatch):
    slow_disk = SlowDisk(monkeypatch)
    spoil = After(5, lambda run: run.trainer.state.model[0].assign(math.nan))
    release = After(5, lambda run: slow_disk.release())
    with pytest.raises(TrainingDiverged, match="after step 5, model/0 is not finite"):
        train(run, spoil, Checkpoints(5), release, tiny_runs.Break(5))


def test_a_signal_waits_for_its_save(run, monkeypatch):
    """The state is saved when the run says so."""
    slow_disk = SlowDisk(monkeypatch)

    def stop(run):
        threading.Timer(0.1, slow_disk.release).start()
        run.stop("a test")

    with pytest.raises(Preempted, match="a test at step 5: the state is saved"):
        train(run, After(5, stop))
    assert run.checkpoints.steps() == [5]
