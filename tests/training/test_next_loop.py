"""Loops that begin before the one before is looked at: when they do, and that a run is the same for it."""

import pytest

from tests.fixtures import tiny_runs
from tests.training.test_run_loop import Cuts, lines
from vaeflow import callbacks
from vaeflow.callbacks import Callback, Checkpoints, Evaluation, Progress, Summaries
from vaeflow.errors import ConfigurationError, Preempted
from vaeflow.optimizers import Adam
from vaeflow.runs.checkpoints import CheckpointStore
from vaeflow.runs.time_limit import TimeLimit
from vaeflow.schedules import CosineSchedule
from vaeflow.training import calls, run_loop
from vaeflow.training.trainer import Trainer


@pytest.fixture
def train(tmp_path, monkeypatch):
    """Trains 20 steps in loops of 2, which may begin ahead, in a folder of a name.

    `train.ahead` has the steps at which loops ended when the next one was under way.
    """
    monkeypatch.setattr(calls, "gain_by_beginning_ahead", lambda: True)
    take = Trainer.take_totals

    def taken(trainer):
        if trainer.steps_ahead:
            train.ahead.append(trainer.step)
        return take(trainer)

    monkeypatch.setattr(Trainer, "take_totals", taken)

    def train(name, cuts, **settings):
        train.ahead = []
        monkeypatch.setattr(run_loop, "Pace", cuts)
        return tiny_runs.train(tmp_path / name, **{"steps_per_loop": 2} | settings)

    return train


def ahead(*sizes, **settings):
    return Cuts(*sizes, ahead=True, **settings)


class Watching(Callback):
    """Only reports, and calls a function with the run in each of its logs."""

    only_reports = True

    def __init__(self, function=lambda run: None):
        super().__init__()
        self.function = function

    def on_log(self, run, metrics):
        self.function(run)


class Inheriting(Watching):
    """Might do more than the class that it extends."""


class Failing(Callback):
    """Only reports, and fails after step 6."""

    only_reports = True

    def on_log(self, run, metrics):
        if run.step == 6:
            raise KeyError("factor")

    def on_failure(self, run, error):
        self.seen = run.step, run.trainer.steps_ahead, run.trainer.optimizer.iterations.numpy()


class Deciding(Callback):
    """Says only after a loop whether it is due."""

    def is_due(self, run):
        return run.step == 20


class Rarely(Callback):
    """Says beforehand when it is due."""

    def is_due_after(self, run, step):
        return step in (8, 14)


EACH = list(range(4, 20, 2))  # The first call compiles, and after the last none is left.


@pytest.mark.slow
@pytest.mark.parametrize(
    ("acting", "expected"),
    [
        ([], EACH),
        ([Progress(), Summaries(), Watching()], EACH),
        ([Progress(), Evaluation(6)], [4, 8, 10, 14, 16]),
        ([Checkpoints(6)], [4, 8, 10, 14, 16]),
        ([Rarely()], [4, 6, 10, 12, 16, 18]),
        ([callbacks.Images(10)], [4, 6, 8, 12, 14, 16, 18]),
        ([Inheriting()], []),
        ([Deciding()], []),
        ([callbacks.EarlyStopping("train/loss")], []),
    ],
    ids=[
        "none",
        "reports",
        "evaluation",
        "checkpoints",
        "said before",
        "images",
        "inherits",
        "said after",
        "stops",
    ],
)
def test_a_loop_waits_for_what_needs_the_state_before_it(train, acting, expected):
    train("run", ahead(), callbacks=acting)
    assert train.ahead == expected


@pytest.mark.slow
@pytest.mark.parametrize("resident_data", [True, pytest.param(False, marks=pytest.mark.long)])
def test_a_run_is_the_same(train, tmp_path, resident_data):
    """With a schedule, whose rate after a loop is logged when later steps have moved it, and cut loops."""

    def settings():
        return {
            "steps_per_loop": 4,
            "optimizer": lambda: Adam(CosineSchedule(0.02, 0.001)),
            "callbacks": [Progress(), Evaluation(8), Checkpoints(8)],
            "resident_data": resident_data,
        }

    one = train("straight", Cuts(), **settings())
    assert train.ahead == []
    other = train("ahead", ahead(1, 3, 2, 2, 4, 1, 3), **settings())
    assert train.ahead == [4, 12]
    assert lines(tmp_path / "ahead") == lines(tmp_path / "straight")
    assert one["weights_sha256"] == other["weights_sha256"]
    (first, *rest) = (line["train/learning_rate"] for line in tiny_runs.metrics_lines(tmp_path / "ahead"))
    assert all(rate < first for rate in rest)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("parts", "resident_data", "step"),
    [((), True, 10), ((2, 2, 2, 2, 1), False, 9)],
    ids=["whole", "cut, streamed"],
)
def test_a_signal_waits_for_the_call_that_has_begun(train, tmp_path, parts, resident_data, step):
    """It comes after step 8, when the next call is under way; the place in the data is that of its end."""

    def settings():
        return {"callbacks": [Progress(), Checkpoints(100)], "resident_data": resident_data}

    straight = train("straight", Cuts(), **settings())
    with pytest.raises(Preempted, match=f"SIGTERM at step {step}: the state is saved"):
        train("stopped", ahead(*parts, stop_at=8), **settings())
    assert train.ahead == [4, 6, 8]
    store = CheckpointStore(tmp_path / "stopped" / "checkpoints")
    assert store.steps() == [step]
    assert store.record(step)["totals"].num_steps == step % 2

    resumed = train("stopped", ahead(), **settings())
    assert lines(tmp_path / "stopped") == lines(tmp_path / "straight")
    assert resumed["weights_sha256"] == straight["weights_sha256"]


@pytest.mark.slow
def test_after_a_signal_no_loop_begins_ahead(train):
    """The run is stopped by a callback that only reports, after step 6, while steps 7 and 8 are trained."""
    stop = Watching(lambda run: run.stop("a test") if run.step == 6 else None)
    with pytest.raises(Preempted, match="a test at step 8: the state is saved"):
        train("run", ahead(), callbacks=[stop])
    assert train.ahead == [4, 6]


@pytest.mark.slow
def test_no_loop_begins_ahead_for_which_the_time_may_not_last(train, monkeypatch):
    asked = []

    def leaves_time_for(limit, *works):
        asked.append(works)
        return len(works) == 1

    monkeypatch.setattr(TimeLimit, "leaves_time_for", leaves_time_for)
    train("run", ahead(), max_seconds=7200, num_steps=6)
    assert train.ahead == []
    both = (run_loop._PART, run_loop._SHORT_WORK, run_loop._PART)
    assert asked.count(both) == 1


@pytest.mark.slow
@pytest.mark.parametrize("ends", [lambda run: run.finish("a test"), lambda run: run.keep_checkpoint("me")])
def test_what_only_reports_must_not_end_the_run(train, ends):
    message = r"`Watching.on_log` ends the run or asks for a save; with `only_reports` it must do neither"
    with pytest.raises(ConfigurationError, match=message):
        train("run", ahead(), callbacks=[Watching(lambda run: ends(run) if run.step == 6 else None)])


@pytest.mark.slow
def test_an_error_between_waits_for_the_call_that_has_begun(train):
    """What is told of it afterwards is the step of the weights."""
    failing = Failing()
    with pytest.raises(ConfigurationError, match=r"`Failing\.on_log` fails: KeyError"):
        train("run", ahead(), callbacks=[failing])
    assert failing.seen == (8, 0, 8)
