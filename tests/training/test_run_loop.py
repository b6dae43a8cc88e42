"""Loops that are trained in parts: nothing but the clock may tell, not even a stop in between."""

import json
import os
import signal
import time
import types

import pytest

from tests.fixtures import tiny_runs
from tests.fixtures.threads import Threads
from vaeflow import callbacks
from vaeflow.callbacks import Run
from vaeflow.devices import replicas
from vaeflow.errors import Preempted
from vaeflow.runs.checkpoints import CheckpointStore
from vaeflow.runs.signals import StopRequest
from vaeflow.runs.totals import Totals
from vaeflow.training import run_loop
from vaeflow.training.settings import TrainingSettings

TIMES = ("wall_seconds", "examples_per_second", "train/input_wait_fraction")


class Cuts:
    """Stands for `Pace`: cuts where it is told, and asks the run to stop at a step.

    Args:
      sizes: of the parts, one after the other; then whole loops.
      stop_at: the number of steps after which SIGTERM comes.
      ahead: whether a loop may begin before the one before is noted.
    """

    def __init__(self, *sizes, stop_at=None, ahead=False):
        self._sizes = iter(sizes)
        self._stop_at = stop_at
        self._ahead = ahead
        self.parts = []

    def __call__(self, strategy):
        return self

    def next_part(self, num_steps):
        return min(next(self._sizes, num_steps), num_steps)

    def next_ahead(self, num_steps, under_way):
        return self.next_part(num_steps) if self._ahead else 0

    def note(self, num_steps, seconds):
        self.parts.append(num_steps)
        if sum(self.parts) == self._stop_at:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(0.2)


@pytest.fixture
def train(tmp_path, monkeypatch):
    """Trains 20 steps in loops of 8 with some cuts, in a folder of a name; returns the result."""

    def train(name, cuts, **settings):
        monkeypatch.setattr(run_loop, "Pace", cuts)
        return tiny_runs.train(tmp_path / name, **{"steps_per_loop": 8} | settings)

    return train


def lines(folder):
    """The log but for the clock, with each number's every digit."""
    return [
        json.dumps({name: value for name, value in line.items() if name not in TIMES})
        for line in tiny_runs.metrics_lines(folder)
    ]


@pytest.mark.slow
def test_the_log_has_the_same_bits_however_loops_are_cut(train, tmp_path):
    whole, cut = Cuts(), Cuts(1, 3, 2, 2, 7, 1, 1, 1)
    one, other = train("whole", whole), train("cut", cut)
    assert (whole.parts, cut.parts) == ([8, 8, 4], [1, 3, 2, 2, 7, 1, 1, 1, 2])
    assert lines(tmp_path / "whole") == lines(tmp_path / "cut")
    assert len(lines(tmp_path / "cut")) == 3
    assert one["weights_sha256"] == other["weights_sha256"]


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.parametrize(("parts", "step"), [((3, 2), 5), ((8, 1, 1, 2), 12)])
def test_a_signal_stops_in_mid_loop_and_the_log_goes_on_where_it_was(train, tmp_path, parts, step):
    straight = train("straight", Cuts())
    with pytest.raises(Preempted, match=f"SIGTERM at step {step}: the state is saved"):
        train("stopped", Cuts(*parts, stop_at=step))
    before = lines(tmp_path / "stopped")
    record = CheckpointStore(tmp_path / "stopped" / "checkpoints").record(step)
    assert record["totals"].num_steps == step % 8
    assert len(before) == step // 8
    # What is logged at once is the mean so far.
    assert record["metrics"]["train/loss"] == record["totals"].means()["loss"]

    resumed = train("stopped", Cuts(2))
    assert lines(tmp_path / "stopped") == lines(tmp_path / "straight")
    assert resumed["weights_sha256"] == straight["weights_sha256"]
    # At the end of a loop nothing is carried over.
    assert not list((tmp_path / "stopped" / "checkpoints").glob("step-00000020"))


@pytest.mark.slow
def test_what_is_saved_at_the_end_of_a_loop_carries_nothing(train, tmp_path):
    with pytest.raises(Preempted, match="at step 8"):
        train("stopped", Cuts(5, 3, stop_at=8), callbacks=[callbacks.Checkpoints(4)])
    store = CheckpointStore(tmp_path / "stopped" / "checkpoints")
    assert store.steps() == [4, 8]
    assert [store.record(step)["totals"] for step in (4, 8)] == [Totals(), Totals()]


@pytest.mark.slow
class DyingEvaluation(callbacks.Evaluation):
    """Dies in the evaluation after a step, or as soon as its line is in the log."""

    def __init__(self, step, late):
        super().__init__(10)
        self.step, self.late = step, late

    def measure(self, run):
        metrics = super().measure(run)
        if run.step == self.step and not self.late:
            raise KeyboardInterrupt
        return metrics

    def on_log(self, run, metrics):
        if run.step == self.step and self.late:
            raise KeyboardInterrupt


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.parametrize(("step", "late"), [(10, False), (20, True)])
def test_a_kill_in_an_evaluation_costs_no_step_and_the_evaluation_is_made_up_for(train, tmp_path, step, late):
    """Saved after it only, nothing is there; saved without the totals, its line and metric are lost."""

    def settings(evaluation):
        return {"steps_per_loop": 5, "callbacks": [evaluation, callbacks.Checkpoints(10)]}

    straight = train("straight", Cuts(), **settings(callbacks.Evaluation(10)))
    with pytest.raises(KeyboardInterrupt):
        train("killed", Cuts(), **settings(DyingEvaluation(step, late)))
    store = CheckpointStore(tmp_path / "killed" / "checkpoints")
    assert store.steps()[-1] == step
    assert store.record(step)["totals"].num_steps == 5

    resumed = train("killed", Cuts(), **settings(callbacks.Evaluation(10)))
    assert resumed["weights_sha256"] == straight["weights_sha256"]
    assert lines(tmp_path / "killed") == lines(tmp_path / "straight")
    other = CheckpointStore(tmp_path / "straight" / "checkpoints")
    for each in (10, 20):
        one, two = store.record(each), other.record(each)
        assert one["totals"] == two["totals"] == Totals()
        metric = "evaluation/negative_elbo"
        assert one["metrics"][metric] == two["metrics"][metric]


@pytest.mark.slow
def test_a_run_that_saves_no_checkpoints_saves_none_before_an_evaluation(train, tmp_path):
    train("without", Cuts(), callbacks=[callbacks.Evaluation(10)])
    assert not (tmp_path / "without" / "checkpoints").exists()


@pytest.mark.long
def test_the_time_before_a_stop_counts(train, tmp_path):
    with pytest.raises(Preempted):
        train("stopped", Cuts(5, stop_at=5))
    path = tmp_path / "stopped" / "checkpoints" / "step-00000005" / "record.json"
    record = json.loads(path.read_text())
    record["totals"] |= {"seconds": 1000.0, "input_seconds": 900.0}
    path.write_text(json.dumps(record))
    train("stopped", Cuts())
    first, second = tiny_runs.metrics_lines(tmp_path / "stopped")[:2]
    assert first["examples_per_second"] < 8 * 8 / 1000 < 1 < second["examples_per_second"]
    assert first["train/input_wait_fraction"] == pytest.approx(0.9, rel=0.2)
    assert second["wall_seconds"] > first["wall_seconds"] > 1000


@pytest.mark.long
def test_a_run_shortened_to_where_it_stopped_logs_that_step(train, tmp_path):
    with pytest.raises(Preempted):
        train("stopped", Cuts(5, stop_at=5))
    assert lines(tmp_path / "stopped") == []
    result = train("stopped", Cuts(), num_steps=5)
    (line,) = tiny_runs.metrics_lines(tmp_path / "stopped")
    assert line["step"] == result["step"] == 5
    assert line["train/loss"] == result["train/loss"]


class Steps:
    """Stands for a `Trainer`: counts steps; something happens after some of them."""

    settings = TrainingSettings(batch_size=8)
    steps_ahead = 0
    can_begin_ahead = False

    def __init__(self, strategy, after_steps):
        self.strategy = strategy
        self.step = 0
        self.totals = Totals()
        self._after_steps = after_steps

    def train(self, num_steps, next_steps):
        assert next_steps == 0
        self.step += num_steps
        self.totals = Totals(self.totals.num_steps + num_steps, 1.0, 0.0, {"loss": 1.0})
        self._after_steps(self.step)
        return 3.0 * num_steps

    def settle(self):
        pass

    def learning_rates(self):
        return {}

    def checkpoint(self):
        return None


def test_all_workers_stop_at_one_step(monkeypatch):
    """The signal comes to one of them, in mid-loop: the other, unasked, would wait for it for ever."""
    threads = Threads(2)
    monkeypatch.setattr(replicas, "mean_over_workers", threads.mean)
    saved = []

    def work(index):
        request = StopRequest()

        def after_steps(step):
            if (index, step) == (1, 7):
                request.name = "SIGTERM"

        workdir = types.SimpleNamespace(writable=index == 0)
        store = types.SimpleNamespace(
            save=lambda *state: saved.append((state[1], state[3].num_steps)),
            check_saving=lambda: None,
            finish_saving=lambda: None,
        )
        trainer = Steps(index, after_steps)
        run = Run(trainer, None, None, workdir, store, request, 1000, "", "", {})
        watchdog = types.SimpleNamespace(progress=lambda doing: None)
        with pytest.raises(Preempted) as stopped:
            run_loop.train_to_end(run, [], watchdog)
        return str(stopped.value).partition(":")[0]

    assert threads.run(work) == ["a signal to another worker at step 7", "SIGTERM at step 7"]
    assert saved == [(7, 7)]
