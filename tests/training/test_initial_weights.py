"""A run that starts from the weights of another: what it takes, and what it says of that."""

import json
import shutil

import numpy as np
import pytest

from tests.fixtures import tiny_runs
from vaeflow.callbacks import Checkpoints
from vaeflow.errors import ConfigurationError
from vaeflow.models.weight_names import named_weights, names_in_checkpoints
from vaeflow.runs.checkpoints import CheckpointStore
from vaeflow.runs.digest import weights_sha256
from vaeflow.training import initial_weights
from vaeflow.training.settings import RunSettings


def values(trainer):
    return {name: variable.numpy() for name, variable in named_weights(trainer.model).items()}


def store_of(folder, trainer):
    folder.mkdir(exist_ok=True)
    averages = trainer.settings.ema_decay is not None
    return CheckpointStore(folder / "checkpoints", weights=names_in_checkpoints(trainer.model, averages))


def saved(folder, step=20, **settings):
    """Saves a new trainer of the tiny model as the checkpoint of a run; returns it."""
    trainer = tiny_runs.trainer(seed=7, **settings)
    store_of(folder, trainer).save(trainer.checkpoint(), step)
    return trainer


def start(trainer, folder, **settings):
    plan = RunSettings(num_steps=1, initial_weights=str(folder), **settings)
    return initial_weights.start(trainer, initial_weights.find(plan.initial_weights), plan)


def test_all_weights_are_taken_and_the_average_begins_with_them(tmp_path):
    source, trainer = saved(tmp_path / "first"), tiny_runs.trainer(ema_decay=0.9)
    taken = start(trainer, tmp_path / "first")
    for name, value in values(source).items():
        np.testing.assert_array_equal(values(trainer)[name], value)
    with trainer.averaged_weights():
        np.testing.assert_array_equal(trainer.model.get_weights()[0], source.model.get_weights()[0])
    assert taken.weights_sha256 == weights_sha256(source.model.weights)
    assert (taken.run, taken.step, taken.averaged) == ("first", 20, False)
    assert (taken.taken, taken.left, taken.missing) == (list(values(trainer)), [], [])


def test_of_a_run_with_averages_these_are_taken(tmp_path):
    source = saved(tmp_path, ema_decay=0.9)
    source.model.encoder.blocks[1].kernel.assign_add(np.ones((64, 8), np.float32))  # The average stays.
    store_of(tmp_path, source).save(source.checkpoint(), 30)
    trainer = tiny_runs.trainer()
    assert start(trainer, tmp_path).averaged
    name = "encoder/blocks/1/kernel"
    np.testing.assert_allclose(values(trainer)[name], values(source)[name] - 1, atol=1e-6)


def test_patterns_choose_and_what_is_left_and_missing_is_listed(tmp_path):
    source, trainer = saved(tmp_path), tiny_runs.trainer()
    before = values(trainer)
    taken = start(
        trainer, tmp_path, initial_weights_of=["encoder", "posterior/*"], initial_weights_except="*/bias"
    )
    assert taken.taken == [
        "encoder/blocks/1/kernel",
        "posterior/mean/kernel",
        "posterior/log_variance/kernel",
    ]
    assert taken.left == taken.missing == [name for name in before if name not in taken.taken]
    for name, value in values(trainer).items():
        np.testing.assert_array_equal(value, (values(source) if name in taken.taken else before)[name])


def test_other_shapes_are_refused_by_name_and_what_the_message_says_starts(tmp_path):
    saved(tmp_path)
    trainer = tiny_runs.trainer(num_latents=3)
    with pytest.raises(ConfigurationError) as refused:
        start(trainer, tmp_path)
    message = str(refused.value)
    assert "posterior/mean/kernel (8, 2) there and (8, 3) here" in message
    advice = message.rpartition("train.initial_weights_except = ")[2]
    # What it says to set, as a user would copy it.
    excepted = json.loads(advice.translate(str.maketrans("()'", '[]"')))
    taken = start(trainer, tmp_path, initial_weights_except=excepted)
    assert set(taken.missing) == set(excepted)
    assert "encoder/blocks/1/kernel" in taken.taken


def test_a_checkpoint_without_names_serves_an_equal_model_only(tmp_path):
    source = tiny_runs.trainer(seed=7, ema_decay=0.9)
    CheckpointStore(tmp_path / "checkpoints").save(source.checkpoint(), 20)
    trainer = tiny_runs.trainer()
    assert start(trainer, tmp_path / "checkpoints" / "step-00000020").missing == []
    np.testing.assert_array_equal(trainer.model.get_weights()[0], source.model.get_weights()[0])
    with pytest.raises(ConfigurationError, match=r"an older version wrote .*step-00000020"):
        start(tiny_runs.trainer(num_latents=3), tmp_path)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"initial_weights": "nowhere"}, "there is no checkpoint in .*nowhere"),
        ({"initial_weights_of": "coder"}, "`train.initial_weights_of` has the pattern 'coder'"),
        ({"initial_weights_except": "*"}, r"no weight of .* has the name of one of this model"),
    ],
)
def test_a_wrong_source_or_pattern_is_refused(tmp_path, settings, message):
    saved(tmp_path)
    settings = {"initial_weights": str(tmp_path)} | settings
    plan = RunSettings(num_steps=1, **settings)
    with pytest.raises(ConfigurationError, match=message):
        initial_weights.start(
            tiny_runs.trainer(), initial_weights.find(str(tmp_path / plan.initial_weights)), plan
        )


def test_patterns_without_a_source_are_refused():
    with pytest.raises(ConfigurationError, match=r"`train\.initial_weights_of` says nothing"):
        RunSettings(num_steps=1, initial_weights_of="encoder")


@pytest.mark.slow
def test_a_run_records_its_start_and_resumes_without_reading_it_again(tmp_path):
    source = saved(tmp_path / "first")
    settings = {"initial_weights": str(tmp_path / "first"), "steps_per_loop": 1}
    with tiny_runs.untraced():
        tiny_runs.train(tmp_path / "run", num_steps=1, callbacks=[Checkpoints(1)], **settings)
        shutil.rmtree(tmp_path / "first")
        resumed = {"num_steps": 2, "callbacks": [Checkpoints(1)], "allow_config_change": True}
        tiny_runs.train(tmp_path / "run", **resumed, **settings)
    facts = json.loads((tmp_path / "run" / "environment.json").read_text())
    digest = weights_sha256(source.model.weights)
    assert facts["initial_weights"]["weights_sha256"] == digest
    assert facts["initial_weights"]["missing"] == []
    header = facts["initial weights"]
    assert header.startswith(
        f"weights of step 20 of first, SHA-256 {digest[:12]}…; taken 10 (encoder/blocks/1"
    )
    assert header.endswith("; left none; missing none")
    record = CheckpointStore(tmp_path / "run" / "checkpoints").record(2)
    assert record["initial_weights"] == facts["initial_weights"]
