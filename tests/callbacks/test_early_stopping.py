"""The callback that ends a run early: when, as Keras decides it, and with which weights."""

import json
import types

import keras
import numpy as np
import pytest

from tests.callbacks.test_checkpoints import Score, steps
from tests.fixtures import tiny_runs
from vaeflow.callbacks import Callback, Checkpoints, EarlyStopping
from vaeflow.errors import ConfigurationError, Preempted
from vaeflow.runs.checkpoints import CheckpointStore
from vaeflow.runs.digest import arrays_sha256

SCORES = {1: 3.0, 2: 1.0, 3: 2.0, 4: 1.5, 5: 1.0, 6: 0.5}
TIMES = {"wall_seconds", "examples_per_second", "train/input_wait_fraction"}


class Stop(Callback):
    """Asks the run to stop, with its state saved."""

    def __init__(self, step):
        super().__init__()
        self.step = step

    def on_log(self, run, metrics):
        if run.step == self.step:
            run.stop("the test")


def train(folder, *more, patience=3, scores=SCORES, **changes):
    early = EarlyStopping("score", patience=patience, restore_best_weights=True)
    callbacks = [Score(scores), early, Checkpoints(4, keep=1), *more]
    settings = {"num_steps": 6, "steps_per_loop": 1, "callbacks": callbacks} | changes
    with tiny_runs.untraced():
        return tiny_runs.train(folder, **settings)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """A run that ended early, and its result."""
    folder = tmp_path_factory.mktemp("undisturbed")
    return folder, train(folder)


def fake_run(step=0):
    """What a run is to the callback."""
    run = types.SimpleNamespace(step=step, ended_by=None, evaluated="validation", source="MNIST")
    run.finish = lambda reason: setattr(run, "ended_by", reason)
    return run


@pytest.mark.parametrize("mode", ["min", "max"])
def test_it_ends_where_keras_would(mode):
    rng = np.random.default_rng(0)
    for _ in range(30):
        values = (rng.integers(-8, 8, size=12) / 4).tolist()  # Exact in Keras' float32.
        own = EarlyStopping("score", min_delta=0.5, patience=3, mode=mode)
        run = fake_run()
        own.on_train_begin(run)
        reference = keras.callbacks.EarlyStopping("score", min_delta=0.5, patience=3, mode=mode)
        reference.set_model(types.SimpleNamespace(stop_training=False))
        reference.on_train_begin()
        for run.step, value in enumerate(values):
            own.on_value(run, value)
            reference.on_epoch_end(run.step, {"score": value})
            assert (run.ended_by is not None) == reference.model.stop_training
            if reference.model.stop_training:
                break
        assert own.state["best_step"] == reference.best_epoch


def test_a_value_that_is_not_finite_is_no_improvement():
    own, run = EarlyStopping("score", patience=2), fake_run()
    own.on_train_begin(run)
    for value in (float("nan"), float("inf")):
        own.on_value(run, value)
    assert own.state == {"best": None, "wait": 2}
    assert run.ended_by == "EarlyStopping: score has not improved in 2 measurements, none was finite"


@pytest.mark.slow
def test_the_run_ends_with_the_best_weights_and_says_so(undisturbed):
    folder, result = undisturbed
    assert result["step"] == 5
    assert result["restored_step"] == 2
    assert result["score"] == 1.0
    assert result["ended_by"].startswith("EarlyStopping: score has not improved in 3 measurements, the best ")
    line = tiny_runs.metrics_lines(folder)[1]
    assert result["train/loss"] == line["train/loss"]
    best = CheckpointStore(folder / "checkpoints").read_weights(2)["model"]
    assert result["weights_sha256"] == arrays_sha256(best)
    assert json.loads((folder / "result.json").read_text()) == result


@pytest.mark.slow
def test_the_best_and_the_last_checkpoint_stay(undisturbed):
    """Checkpoints(4, keep=1) alone would keep that of step 4."""
    folder, _ = undisturbed
    assert steps(folder) == [2, 5]


@pytest.mark.long
@pytest.mark.slow
def test_the_same_command_finds_it_finished_and_with_more_patience_it_goes_on(undisturbed, tmp_path, capsys):
    folder, result = undisturbed
    assert train(folder) == result
    assert "this run is finished" in capsys.readouterr().out
    assert train(tmp_path, patience=1)["step"] == 3
    (tmp_path / "config.gin").write_text("# Another configuration, for these runs have none.\n")
    assert train(tmp_path, patience=9, allow_config_change=True)["step"] == 6


@pytest.mark.long
@pytest.mark.parametrize("step", [1, 3, 4])
def test_a_stopped_run_ends_as_an_undisturbed_one(undisturbed, tmp_path, step):
    with pytest.raises(Preempted):
        train(tmp_path, Stop(step))
    resumed, (_, straight) = train(tmp_path), undisturbed
    assert {name: resumed[name] for name in resumed.keys() - TIMES} == {
        name: straight[name] for name in straight.keys() - TIMES
    }


@pytest.mark.long
@pytest.mark.slow
def test_a_run_that_was_killed_before_its_result_ends_where_it_had_ended(undisturbed, tmp_path):
    straight = train(tmp_path)
    (tmp_path / "result.json").unlink()
    again = train(tmp_path)
    assert again["weights_sha256"] == straight["weights_sha256"]
    assert again["step"] == 5


@pytest.mark.slow
def test_without_validation_images_the_default_is_refused(tmp_path):
    with pytest.raises(ConfigurationError, match=r"MemoryDataset.validation_fraction.*'train/loss'"):
        tiny_runs.train(tmp_path, callbacks=[EarlyStopping()])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"monitor": ""}, "`EarlyStopping.monitor` must be the name of a metric"),
        ({"patience": 0}, "`EarlyStopping.patience` must be a positive integer"),
        ({"min_delta": -1}, "`EarlyStopping.min_delta` must be a number of at least 0"),
        ({"mode": "auto"}, "`EarlyStopping.mode` must be one of 'min', 'max'"),
        ({"restore_best_weights": 1}, "`EarlyStopping.restore_best_weights` must be True or False"),
    ],
)
def test_a_wrong_setting_is_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        EarlyStopping(**settings)
