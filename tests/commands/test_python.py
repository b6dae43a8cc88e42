"""`vaeflow.train` takes objects, and does with them what the command does."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf

import vaeflow
from tests.fixtures import tiny_runs
from vaeflow.errors import ConfigurationError, Preempted
from vaeflow.runs.digest import weights_sha256


@pytest.fixture(autouse=True)
def configuration_is_forgotten():
    with tiny_runs.configuration_of_its_own():
        yield


def seeded_model():
    keras.utils.set_random_seed(0)
    return tiny_runs.model()


def train(folder, model=None, **changes):
    settings = {"num_steps": 10, "batch_size": 8, "steps_per_loop": 5, "compile_mode": "none"} | changes
    model = seeded_model() if model is None else model
    return vaeflow.train(model, tiny_runs.dataset(), folder, **settings)


@pytest.mark.slow
def test_it_trains_evaluates_and_writes_what_the_command_writes(tmp_path):
    model = seeded_model()
    result = train(tmp_path / "objects", model)
    command = tiny_runs.train(tmp_path / "command", num_steps=10, callbacks=None)
    names = {path.name for path in (tmp_path / "command").iterdir()}
    assert {path.name for path in (tmp_path / "objects").iterdir()} == names
    assert result.keys() == command.keys()
    assert result["weights_sha256"] == command["weights_sha256"] == weights_sha256(model.weights)
    assert result["evaluation/negative_elbo"] == command["evaluation/negative_elbo"]


class Stop(vaeflow.callbacks.Callback):
    """Ends the run after some steps, with its state saved."""

    def on_log(self, run, metrics):
        if run.step == 5:
            run.stop("the fifth step")


@pytest.mark.long
@pytest.mark.slow
def test_a_stopped_run_resumes_to_the_same_bits(tmp_path):
    whole = train(tmp_path / "whole", callbacks=[])
    with pytest.raises(Preempted):
        train(tmp_path / "stopped", callbacks=[Stop()])
    resumed = train(tmp_path / "stopped", callbacks=[])
    assert resumed["weights_sha256"] == whole["weights_sha256"]


@pytest.mark.slow
def test_a_strategy_and_an_optimizer_are_taken(tmp_path):
    strategy = tf.distribute.MirroredStrategy(["CPU:0"])
    with strategy.scope():
        model, optimizer = seeded_model(), keras.optimizers.SGD(0.01)
        model.build((None, *tiny_runs.SHAPE))
    before = [weight.numpy() for weight in model.weights]
    train(tmp_path, model, optimizer=optimizer, strategy=strategy, callbacks=[])
    assert optimizer.iterations == 10
    assert any(np.any(old != new) for old, new in zip(before, model.weights, strict=True))


@pytest.mark.long
def test_another_model_in_the_same_folder_is_refused_with_the_difference(tmp_path):
    train(tmp_path, callbacks=[])
    keras.utils.set_random_seed(0)
    with pytest.raises(ConfigurationError, match=r'"num_latents": 3'):
        train(tmp_path, tiny_runs.model(num_latents=3), callbacks=[])


@pytest.mark.slow
def test_the_saved_configuration_is_a_description_in_comments(tmp_path):
    train(tmp_path, callbacks=[])
    lines = (tmp_path / "config.gin").read_text().splitlines()
    assert all(line.startswith("# ") for line in lines)
    description = json.loads("\n".join(line.removeprefix("# ") for line in lines[1:]))
    assert description["model"]["class_name"] == "VAE"
    assert description["settings"][0]["num_steps"] == 10


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"model": vaeflow.VAE},
            r"`model` must be a vaeflow.models.Model, .*; call the class",
        ),
        ({"batch_size": 0}, "`train.batch_size` must be a positive integer, got 0"),
        ({"callbacks": [Stop]}, "`callbacks` must be a list of Callback"),
        ({"batchsize": 4}, "there is no setting 'batchsize'; did you mean 'batch_size'"),
    ],
)
def test_a_wrong_argument_is_refused_before_anything_is_made(tmp_path, changes, message):
    with pytest.raises((ConfigurationError, TypeError), match=message):
        train(tmp_path / "run", **changes)
    assert not (tmp_path / "run").exists()
