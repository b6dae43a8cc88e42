"""How long a run goes on: epochs in place of steps, and a limit to its time."""

import json

import pytest

from tests.fixtures import tiny_runs
from vaeflow.callbacks import Checkpoints, Evaluation
from vaeflow.errors import ConfigurationError, Preempted
from vaeflow.layers import DenseDecoder, DenseEncoder
from vaeflow.models import VAE
from vaeflow.runs.checkpoints import CheckpointStore
from vaeflow.runs.time_limit import TimeLimit
from vaeflow.schedules import LinearSchedule
from vaeflow.training import run_loop
from vaeflow.training.settings import RunSettings

TIMES = ("wall_seconds", "examples_per_second", "train/input_wait_fraction")


def lines(folder):
    return [
        json.dumps({name: value for name, value in line.items() if name not in TIMES})
        for line in tiny_runs.metrics_lines(folder)
    ]


@pytest.mark.parametrize(
    ("epochs", "examples", "batch_size", "steps"),
    [(1, 40, 8, 5), (1, 41, 8, 6), (3, 41, 8, 16), (10, 60_000, 128, 4688), (1, 3, 8, 1), (3, 3, 8, 2)],
)
def test_the_last_step_completes_the_last_epoch(epochs, examples, batch_size, steps):
    assert RunSettings(num_epochs=epochs).steps_for(examples, batch_size) == steps
    assert (steps - 1) * batch_size < epochs * examples <= steps * batch_size


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_steps": 5, "num_epochs": 1}, "`train.num_steps` is 5 and `train.num_epochs` 1; set one of"),
        ({}, "`train.num_steps` must be set; .*or train.num_epochs = 10"),
        ({"num_epochs": 0}, "`train.num_epochs` must be a positive integer"),
        ({"num_epochs": 1.5}, "`train.num_epochs` must be a positive integer"),
        ({"num_steps": 1, "max_seconds": 0}, "`train.max_seconds` must be a number above 0"),
    ],
)
def test_a_wrong_length_is_refused(settings, message):
    with pytest.raises((ConfigurationError, ValueError), match=message):
        RunSettings(**settings)


@pytest.mark.slow
def test_epochs_are_as_many_steps_and_schedules_follow(tmp_path):
    schedule = LinearSchedule(0.0, 1.0)

    def model():
        return VAE(2, DenseEncoder(units=(8,)), DenseDecoder(units=(8,)), kl_weight=schedule)

    settings = {"num_steps": None, "num_epochs": 1, "steps_per_loop": 1, "model": model}
    with tiny_runs.untraced():
        result = tiny_runs.train(tmp_path, callbacks=[Checkpoints(5)], **settings)
        assert tiny_runs.train(tmp_path, callbacks=[Checkpoints(5)], **settings) == result
    assert result["step"] == 5
    weights = [line["train/kl_weight"] for line in tiny_runs.metrics_lines(tmp_path)]
    assert weights == pytest.approx([0.0, 0.2, 0.4, 0.6, 0.8])


@pytest.fixture
def straight(tmp_path):
    return train(tmp_path / "straight"), lines(tmp_path / "straight")


def train(folder, **changes):
    callbacks = [Evaluation(2), Checkpoints(2)]
    with tiny_runs.untraced():
        return tiny_runs.train(folder, num_steps=4, steps_per_loop=2, callbacks=callbacks, **changes)


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.parametrize(
    ("work", "times", "step"),
    [("_PART", 0, 1), ("_PART", 1, 2), ("_LONG_WORK", 0, 2), ("_LONG_WORK", 1, 4)],
)
def test_a_run_out_of_time_stops_and_goes_on_as_if_nothing_was(
    tmp_path, straight, monkeypatch, work, times, step
):
    """In mid-loop, between loops, before an evaluation, and before the last one."""
    left = [times]

    def leaves_time_for(limit, coming):
        if coming == getattr(run_loop, work):
            left[0] -= 1
        return left[0] >= 0

    with monkeypatch.context() as patched:
        patched.setattr(TimeLimit, "leaves_time_for", leaves_time_for)
        with pytest.raises(Preempted) as stopped:
            train(tmp_path / "stopped", max_seconds=7200)
    message = f"the time limit of 7,200 s (`train.max_seconds`) at step {step}: the state is saved"
    assert str(stopped.value).startswith(message)
    assert CheckpointStore(tmp_path / "stopped" / "checkpoints").steps()[-1] == step
    result, log = straight
    assert train(tmp_path / "stopped")["weights_sha256"] == result["weights_sha256"]
    assert lines(tmp_path / "stopped") == log


@pytest.mark.slow
def test_a_limit_that_is_over_at_once_leaves_one_part_of_a_loop(tmp_path):
    """So that a run of many starts gets on, however short they are."""
    with pytest.raises(Preempted, match=r"the time limit of 0\.001 s .* at step 1"):
        train(tmp_path, max_seconds=1e-3)
