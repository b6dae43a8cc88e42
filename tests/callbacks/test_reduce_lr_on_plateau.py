"""The callback that lowers learning rates: as Keras' own does, for every optimizer, exact over a resume."""

import types

import keras
import numpy as np
import pytest

from tests.callbacks.test_checkpoints import Score
from tests.callbacks.test_early_stopping import Stop, fake_run
from tests.fixtures import tiny_runs
from vaeflow.callbacks import Checkpoints, ReduceLROnPlateau
from vaeflow.errors import ConfigurationError, Preempted
from vaeflow.optimizers import Adam
from vaeflow.schedules import LinearSchedule
from vaeflow.training.learning_rates import LearningRates

FLAT = dict.fromkeys(range(1, 7), 2.0)


def optimizer_of(rate=0.1):
    return keras.optimizers.SGD(rate)


def run_of(**by_group):
    """What a run with some optimizers is to the callback."""
    run = fake_run()
    groups = {None if name == "own" else name: each for name, each in by_group.items()}
    run.trainer = types.SimpleNamespace(rates=LearningRates(groups))
    return run


def test_the_rates_are_those_of_keras():
    rng = np.random.default_rng(0)
    settings = {"factor": 0.5, "patience": 2, "min_delta": 0.25, "cooldown": 2, "min_lr": 0.02}
    for mode in ("min", "max") * 10:
        own, run = ReduceLROnPlateau("score", mode=mode, **settings), run_of(own=optimizer_of())
        own.on_train_begin(run)
        reference = keras.callbacks.ReduceLROnPlateau("score", mode=mode, **settings)
        reference.set_model(types.SimpleNamespace(optimizer=optimizer_of()))
        reference.on_train_begin()
        for step, value in enumerate((rng.integers(-8, 8, size=20) / 4).tolist()):
            own.on_value(run, value)
            reference.on_epoch_end(step, {"score": value})
            expected = float(reference.model.optimizer.learning_rate)
            assert run.trainer.rates.current() == {"learning_rate": expected}


def test_every_optimizer_is_lowered_down_to_the_least():
    run = run_of(own=optimizer_of(0.1), discriminator=optimizer_of(0.015))
    own = ReduceLROnPlateau("score", factor=0.5, patience=1, min_lr=0.01)
    own.on_train_begin(run)
    for _ in range(9):
        own.on_value(run, 1.0)
    least = float(np.float32(0.01))
    assert run.trainer.rates.current() == {"learning_rate": least, "discriminator_learning_rate": least}
    assert own.state["reductions"] == 4


def test_a_schedule_is_refused():
    run = run_of(own=optimizer_of(LinearSchedule(1.0, 0.0, 5)), discriminator=optimizer_of())
    with pytest.raises(ConfigurationError, match="numbers, and learning_rate follows a schedule"):
        ReduceLROnPlateau("score").on_train_begin(run)


@pytest.mark.long
def test_a_stopped_run_ends_with_the_same_rates_and_bits(tmp_path):
    def train(name, *more):
        reduce = ReduceLROnPlateau("score", factor=0.3, patience=1, cooldown=2)
        callbacks = [Score(FLAT), reduce, Checkpoints(2), *more]
        settings = {"num_steps": 6, "steps_per_loop": 1, "callbacks": callbacks}
        with tiny_runs.untraced():
            return tiny_runs.train(tmp_path / name, optimizer=lambda: Adam(0.01), **settings)

    straight = train("straight")
    with pytest.raises(Preempted):
        train("stopped", Stop(3))
    resumed = train("stopped")
    assert resumed["weights_sha256"] == straight["weights_sha256"]
    rates = [
        [line["train/learning_rate"] for line in tiny_runs.metrics_lines(tmp_path / name)]
        for name in ("straight", "stopped")
    ]
    assert rates[0] == rates[1]
    # The first measurement is the best, and every other of the rest is in the cooldown.
    np.testing.assert_allclose(rates[0], [1e-2, 1e-2, 3e-3, 3e-3, 9e-4, 9e-4], rtol=1e-6)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"factor": 1.0}, "`ReduceLROnPlateau.factor` must be below 1"),
        ({"factor": 0.0}, "`ReduceLROnPlateau.factor` must be a number above 0"),
        ({"cooldown": -1}, "`ReduceLROnPlateau.cooldown` must be an integer of at least 0"),
        ({"min_lr": -1e-3}, "`ReduceLROnPlateau.min_lr` must be a number of at least 0"),
    ],
)
def test_a_wrong_setting_is_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        ReduceLROnPlateau(**settings)
