"""The settings of a training: their checks, and the signature that they give to a function."""

import inspect

import pytest

from vaeflow.errors import ConfigurationError
from vaeflow.training.settings import RunSettings, TrainingSettings, taken_from, with_settings


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"batch_size": 0}, "`train.batch_size` must be a positive integer, got 0"),
        ({"seed": 2**32}, "`train.seed`"),
        ({"seed": -1}, "`train.seed`"),
        ({"steps_per_loop": 2.5}, "`train.steps_per_loop` must be a positive integer, got 2.5"),
        ({"batch_size": 10**15}, "`train.batch_size` must be at most 16,777,216"),
        ({"steps_per_loop": 10**9}, "`train.steps_per_loop` must be at most 33,554,432 with a batch of 8"),
        ({"gradient_clip_norm": 1e999}, "`train.gradient_clip_norm` must be a number above 0, got inf"),
        ({"compile_mode": "fast"}, "`train.compile_mode` must be one of 'auto', 'none', 'step', 'loop'"),
        ({"gradient_clip_norm": 0}, "`train.gradient_clip_norm` must be a number above 0, got 0"),
        ({"bytes_per_pack": -1}, "`train.bytes_per_pack` must be an integer of at least 0, got -1"),
        ({"gradient_accumulation_steps": True}, "`train.gradient_accumulation_steps`"),
        ({"ema_decay": 1}, r"`train.ema_decay` must be a number in \[0, 1\), got 1"),
    ],
)
def test_a_setting_out_of_range_is_refused(changes, message):
    with pytest.raises((ConfigurationError, ValueError), match=message):
        TrainingSettings(**{"batch_size": 8} | changes)


@pytest.mark.parametrize(
    "changes",
    [
        {"num_steps": 0},
        {"num_steps": 10**30},
        {"stall_seconds": 0},
        {"stall_seconds": 1e999},
        {"start_seconds": -1},
        {"peer_seconds": "long"},
    ],
)
def test_a_setting_of_the_run_out_of_range_is_refused(changes):
    with pytest.raises(ValueError, match=f"`train.{next(iter(changes))}` must be "):
        RunSettings(**{"num_steps": 8} | changes)


def test_no_limit_on_a_stall_is_an_infinite_one():
    assert RunSettings(num_steps=1, stall_seconds=None).longest_stall == float("inf")
    assert RunSettings(num_steps=1, stall_seconds=5).longest_stall == 5


def test_settings_are_taken_from_all_that_gin_gave():
    values = {"model": None, "num_steps": 3, "batch_size": 8, "seed": 4}
    assert taken_from(RunSettings, values) == RunSettings(num_steps=3)
    assert taken_from(TrainingSettings, values) == TrainingSettings(batch_size=8, seed=4)


@pytest.mark.parametrize(
    ("settings_class", "name"), [(RunSettings, "num_steps"), (TrainingSettings, "batch_size")]
)
def test_what_must_be_set_is_named(settings_class, name):
    with pytest.raises(ConfigurationError, match=rf"`train.{name}` must be set; .* train.{name} = \d+"):
        taken_from(settings_class, {})


def test_a_function_of_settings_names_each_in_its_signature():
    @with_settings
    def train(folder, *, quick=True, **settings):
        return settings

    parameters = inspect.signature(train).parameters
    assert list(parameters)[:3] == ["folder", "quick", "num_steps"]
    assert parameters["stall_seconds"].default == 900
    assert parameters["seed"].default == 0
    assert parameters["batch_size"].default is inspect.Parameter.empty
    assert train("runs", seed=3) == {"seed": 3}


@pytest.mark.parametrize("given", ["encoder", ["encoder"], ("encoder",)])
def test_patterns_are_a_text_or_a_list(given):
    assert TrainingSettings(batch_size=8, frozen=given).frozen == ("encoder",)


@pytest.mark.parametrize("given", ["", [""], 3, [3], None])
def test_what_is_no_pattern_is_refused(given):
    with pytest.raises(ValueError, match=r"`train\.frozen` must be a text or a list of texts"):
        TrainingSettings(batch_size=8, frozen=given)
