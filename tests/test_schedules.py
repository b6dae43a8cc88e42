"""Schedules at the points where their values are known."""

import math
import re

import keras
import pytest
import tensorflow as tf

from tests.fixtures import tiny_runs
from tests.fixtures.commands import REPOSITORY
from vaeflow import registry, schedules
from vaeflow.errors import ConfigurationError
from vaeflow.models import VAE, FactorVAE
from vaeflow.schedules import (
    CosineSchedule,
    CyclicalSchedule,
    ExponentialSchedule,
    LinearSchedule,
    SigmoidSchedule,
)
from vaeflow.training import making

SCHEDULES = (LinearSchedule, CosineSchedule, SigmoidSchedule, CyclicalSchedule)


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize(
    "change", [{"start": -1.0}, {"end": float("inf")}, {"start": "x"}, {"num_steps": 10**30}]
)
def test_a_schedule_out_of_range_is_refused(schedule, change):
    with pytest.raises(ValueError, match=f"`{schedule.__name__}.{next(iter(change))}` must be "):
        schedule(**change)


@pytest.mark.parametrize("setting", ["start", "end"])
def test_an_exponential_schedule_does_not_reach_zero(setting):
    with pytest.raises(
        ValueError, match=f"`ExponentialSchedule.{setting}` must be a number above 0, got 0.0"
    ):
        ExponentialSchedule(**{setting: 0.0})


def sigmoid(x):
    return 1 / (1 + math.exp(-x))


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        (LinearSchedule(2.0, 4.0, 100), {0: 2, 25: 2.5, 50: 3, 75: 3.5, 99: 3.98, 100: 4, 101: 4, 10**9: 4}),
        (LinearSchedule(4.0, 1.0, 3), {0: 4, 1: 3, 2: 2, 3: 1, 4: 1}),
        (
            CosineSchedule(2.0, 4.0, 100),
            {0: 2, 25: 3 - math.sqrt(0.5), 50: 3, 75: 3 + math.sqrt(0.5), 100: 4, 150: 4, 10**9: 4},
        ),
        (
            SigmoidSchedule(2.0, 4.0, 100, steepness=8.0),
            {0: 2, 25: 2 + 2 * (sigmoid(-2) - sigmoid(-4)) / (1 - 2 * sigmoid(-4)), 50: 3, 100: 4, 10**9: 4},
        ),
        (
            ExponentialSchedule(1.0, 0.5, 100),
            {0: 1, 50: math.sqrt(0.5), 75: 0.5**0.75, 100: 0.5, 150: 0.5, 10**9: 0.5},
        ),
        (ExponentialSchedule(2.0, 2.0, 100), {0: 2, 50: 2, 150: 2}),
        # Two cycles of 50 steps, which rise for 20.
        (
            CyclicalSchedule(2.0, 4.0, 100, num_cycles=2, ramp_fraction=0.4),
            {0: 2, 10: 3, 20: 4, 49: 4, 50: 2, 60: 3, 70: 4, 99: 4, 100: 4, 110: 4, 10**9: 4},
        ),
    ],
)
def test_values_at_known_steps(schedule, expected):
    for step, value in expected.items():
        assert float(schedule(step)) == pytest.approx(value, rel=1e-6), step


@pytest.mark.parametrize("kind", SCHEDULES)
def test_a_schedule_reads_any_kind_of_step(kind):
    schedule = kind(0.0, 1.0, 10)
    compiled = tf.function(schedule, jit_compile=True)
    for step in (0, 3, 10, 12):
        expected = float(schedule(step))
        assert float(schedule(tf.constant(step, tf.int64))) == expected
        assert float(schedule(tf.Variable(step, dtype=tf.int32))) == expected
        assert float(compiled(tf.constant(step))) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("kind", SCHEDULES)
def test_float64_is_exact(kind):
    keras.config.set_floatx("float64")
    value = kind(0.1, 0.7, 3)(10)
    assert value.dtype == tf.float64
    assert float(value) == pytest.approx(0.7, abs=1e-15)


@pytest.mark.parametrize(
    ("schedule", "config"),
    [
        (LinearSchedule(1.0, 2.0, 7), {"start": 1.0, "end": 2.0, "num_steps": 7}),
        (CosineSchedule(1.0, 2.0, 7), {"start": 1.0, "end": 2.0, "num_steps": 7}),
        (SigmoidSchedule(1.0, 2.0, 7, 3.0), {"start": 1.0, "end": 2.0, "num_steps": 7, "steepness": 3.0}),
        (
            CyclicalSchedule(1.0, 2.0, 7, 3, 0.2),
            {"start": 1.0, "end": 2.0, "num_steps": 7, "num_cycles": 3, "ramp_fraction": 0.2},
        ),
    ],
)
def test_serialization_round_trip(schedule, config):
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(schedule))
    assert type(again) is type(schedule)
    assert again.get_config() == config
    for step in (0, 1, 2, 5, 7, 9):
        assert float(again(step)) == float(schedule(step))


def test_sgd_takes_steps_of_the_scheduled_size():
    variable = tf.Variable(0.0)
    optimizer = keras.optimizers.SGD(LinearSchedule(1.0, 0.0, 4))
    for _ in range(6):
        optimizer.apply([tf.constant(1.0)], [variable])
    # The steps are 1, ¾, ½, ¼, 0, 0.
    assert float(variable) == pytest.approx(-2.5, abs=1e-6)


@pytest.mark.parametrize("kind", SCHEDULES)
def test_adam_takes_it_as_learning_rate(kind):
    """With a constant gradient Adam moves by its learning rate (Kingma & Ba 2015, section 2.1)."""
    schedule = kind(0.01, 0.05, 3)
    variable = tf.Variable(0.0)
    optimizer = keras.optimizers.Adam(schedule)
    for step in range(5):
        before = float(variable)
        optimizer.apply([tf.constant(100.0)], [variable])
        assert before - float(variable) == pytest.approx(float(schedule(step)), rel=1e-4)


def test_value_at_takes_numbers_and_schedules():
    assert schedules.value_at(3.0, 10) == 3.0
    assert float(schedules.value_at(LinearSchedule(0.0, 1.0, 10), 5)) == 0.5


@pytest.mark.parametrize(
    ("kind", "arguments", "message"),
    [
        (LinearSchedule, {"num_steps": 0}, "`LinearSchedule.num_steps` must be a positive integer, got 0"),
        (CosineSchedule, {"num_steps": 2.5}, "`CosineSchedule.num_steps` must be a positive integer"),
        (SigmoidSchedule, {"steepness": 0.0}, "`SigmoidSchedule.steepness` must be a number above 0"),
        (CyclicalSchedule, {"num_cycles": -1}, "`CyclicalSchedule.num_cycles` must be a positive integer"),
        (CyclicalSchedule, {"ramp_fraction": 0}, "`CyclicalSchedule.ramp_fraction` must be a number"),
        (CyclicalSchedule, {"ramp_fraction": 1.5}, "`CyclicalSchedule.ramp_fraction` must be a number"),
    ],
)
def test_faulty_settings_are_refused(kind, arguments, message):
    with pytest.raises(ValueError, match=message):
        kind(**arguments)


def test_keras_own_schedules_are_registered():
    assert registry.get("ExponentialDecay").target is keras.optimizers.schedules.ExponentialDecay


def test_a_schedule_takes_the_length_of_the_run():
    model = VAE(2, kl_weight=LinearSchedule(0.0, 4.0))
    optimizer = keras.optimizers.Adam(CosineSchedule(1.0, 0.5))
    for num_steps in (100, 40):  # A run that goes on for another number of steps.
        making.follow_run(model, optimizer, num_steps)
        assert float(model.kl_weight_at(num_steps // 4)) == pytest.approx(1.0)
        optimizer.iterations.assign(num_steps)
        assert float(optimizer.learning_rate) == pytest.approx(0.5)


def test_a_schedule_of_another_length_keeps_it():
    model = VAE(2, kl_weight=LinearSchedule(0.0, 4.0, 10))
    making.follow_run(model, None, 100)
    assert float(model.kl_weight_at(10)) == 4.0


def test_the_length_is_saved_with_the_model():
    model = VAE(2, kl_weight=LinearSchedule(0.0, 4.0))
    making.follow_run(model, None, 100)
    assert float(VAE.from_config(model.get_config()).kl_weight_at(50)) == 2.0


def test_without_a_run_the_length_must_be_set():
    with pytest.raises(
        ConfigurationError, match=r"`LinearSchedule\.num_steps` is by default that of the run"
    ):
        LinearSchedule()(3)


@pytest.mark.slow
def test_the_schedules_of_a_run_end_with_it(tmp_path):
    """With a length of their own, shortening the run alone leaves the learning rate high."""

    def optimizer():
        return keras.optimizers.Adam(CosineSchedule(0.5, 0.25))

    tiny_runs.train(tmp_path, num_steps=10, optimizer=optimizer, callbacks=[])
    assert tiny_runs.metrics_lines(tmp_path)[-1]["train/learning_rate"] == pytest.approx(0.25)


def test_a_discriminators_schedule_takes_the_length_of_the_run():
    model = FactorVAE(2, discriminator_optimizer=keras.optimizers.Adam(LinearSchedule(1.0, 0.0)))
    making.follow_run(model, None, 10)
    assert model.discriminator_optimizer._learning_rate.num_steps == 10


def test_no_shipped_configuration_sets_a_length_twice():
    shipped = [path.read_text() for path in (REPOSITORY / "configs").glob("*.gin")]
    assert shipped
    for text in shipped:
        lengths = re.findall(r"^\w+\.num_steps = (\d+)", text, re.MULTILINE)
        assert len(lengths) == len(set(lengths)), text
