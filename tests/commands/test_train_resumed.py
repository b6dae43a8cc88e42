"""Runs from Python: they resume with the same bits, answer signals, and know what they made."""

import json
import os
import signal
import time

import keras
import pytest
import tensorflow as tf

from tests.fixtures import tiny_runs
from vaeflow import callbacks
from vaeflow.callbacks import Callback
from vaeflow.errors import ConfigurationError, Preempted, TrainingDiverged

pytestmark = pytest.mark.slow  # Each test has a trained run.


class Stop(Callback):
    """Fails after a step, as a defect or a lost machine would."""

    def __init__(self, step):
        super().__init__()
        self.step = step

    def on_log(self, run, metrics):
        if run.step == self.step:
            raise KeyboardInterrupt


def checkpoints(every_steps=5):
    return callbacks.Checkpoints(every_steps)


RESUMED = {
    "float64": {
        "precision": "float64",
        "ema_decay": 0.9,
        "gradient_clip_norm": 1.0,
        "gradient_accumulation_steps": 2,
    },
    "streamed": {"resident_data": False, "dataset": tiny_runs.dataset(binarization="dynamic")},
    "fewer examples than a batch": {"dataset": tiny_runs.dataset(num_train=3), "steps_per_loop": 1},
    "mixed precision": {"precision": "mixed_bfloat16", "steps_per_loop": 4},
}


@pytest.mark.long
@pytest.mark.parametrize("name", RESUMED)
def test_a_run_that_broke_off_ends_with_the_same_bits(tmp_path, name):
    settings = {"num_steps": 13} | RESUMED[name]
    straight = tiny_runs.train(tmp_path / "straight", **settings)
    with pytest.raises(KeyboardInterrupt):
        tiny_runs.train(tmp_path / "broken", **settings, callbacks=[checkpoints(), Stop(10)])
    resumed = tiny_runs.train(tmp_path / "broken", **settings, callbacks=[checkpoints()])
    assert resumed["weights_sha256"] == straight["weights_sha256"]
    assert resumed["train/loss"] == straight["train/loss"]
    steps = [line["step"] for line in tiny_runs.metrics_lines(tmp_path / "broken")]
    assert steps == sorted(set(steps))
    assert steps[-1] == 13


def test_a_signal_saves_the_state_and_tells_the_callbacks(tmp_path):
    class Terminate(Callback):
        ended = False

        def on_log(self, run, metrics):
            if run.step == 10:
                os.kill(os.getpid(), signal.SIGTERM)
                time.sleep(0.2)

        def on_train_end(self, run):
            self.ended = True

    terminate = Terminate()
    with pytest.raises(Preempted, match="SIGTERM at step 10: the state is saved"):
        tiny_runs.train(tmp_path / "run", callbacks=[terminate])
    assert terminate.ended
    resumed = tiny_runs.train(tmp_path / "run")
    assert resumed["weights_sha256"] == tiny_runs.train(tmp_path / "straight")["weights_sha256"]


def test_a_signal_in_the_last_loop_does_not_stop_the_run(tmp_path):
    class Terminate(Callback):
        def on_log(self, run, metrics):
            if run.step == run.num_steps:
                os.kill(os.getpid(), signal.SIGTERM)
                time.sleep(0.2)

    assert tiny_runs.train(tmp_path, callbacks=[Terminate()])["step"] == 20


@pytest.mark.long
def test_the_loops_do_not_change_the_training(tmp_path):
    one, other = (
        tiny_runs.train(tmp_path / str(steps), steps_per_loop=steps, callbacks=[checkpoints(every_steps=7)])
        for steps in (1, 100)
    )
    assert one["weights_sha256"] == other["weights_sha256"]
    assert [line["step"] for line in tiny_runs.metrics_lines(tmp_path / "100")] == [7, 14, 20]
    assert len(tiny_runs.metrics_lines(tmp_path / "1")) == 20


def test_another_seed_is_another_run(tmp_path):
    shas = {tiny_runs.train(tmp_path / str(seed), seed=seed)["weights_sha256"] for seed in (0, 1)}
    assert len(shas) == 2


@pytest.mark.long
def test_a_result_lost_after_the_last_checkpoint_is_made_again(tmp_path):
    settings = {"callbacks": [callbacks.Evaluation(10), checkpoints(10)]}
    first = tiny_runs.train(tmp_path, **settings)
    assert "evaluation/negative_elbo" in first
    (tmp_path / "result.json").unlink()
    assert tiny_runs.train(tmp_path, **settings) == first
    (tmp_path / "result.json").unlink()
    (tmp_path / "metrics.jsonl").unlink()
    again = tiny_runs.train(tmp_path, **settings)
    assert (again["step"], again["weights_sha256"]) == (20, first["weights_sha256"])


@pytest.mark.long
def test_a_result_without_a_checkpoint_is_not_trained_over(tmp_path):
    tiny_runs.train(tmp_path)
    with pytest.raises(ConfigurationError, match="holds a result but no checkpoint"):
        tiny_runs.train(tmp_path, num_steps=30)
    assert json.loads((tmp_path / "result.json").read_text())["step"] == 20


@pytest.mark.long
@pytest.mark.parametrize(
    ("precision", "dtype"), [("float32", "float32"), ("mixed_bfloat16", "float32"), ("float64", "float64")]
)
def test_precision(tmp_path, precision, dtype):
    kept = []

    class Keep(Callback):
        def on_train_begin(self, run):
            kept.append(run.trainer)

    tiny_runs.train(tmp_path, precision=precision, callbacks=[Keep()])
    (trainer,) = kept
    assert {weight.dtype for weight in trainer.model.weights} == {dtype}
    compute = "bfloat16" if precision == "mixed_bfloat16" else dtype
    assert trainer.model.encoder(tf.zeros((2, *tiny_runs.SHAPE))).dtype == compute


def test_in_mid_run_a_checkpoint_of_another_model_is_refused(tmp_path):
    tiny_runs.train(tmp_path, callbacks=[checkpoints()])
    with pytest.raises(ConfigurationError, match="another model or optimizer"):
        tiny_runs.train(tmp_path, num_steps=30, model=lambda: tiny_runs.model(num_latents=3))
    with pytest.raises(ConfigurationError, match="another model or optimizer"):
        tiny_runs.train(tmp_path, num_steps=30, optimizer=keras.optimizers.SGD)


def test_divergence_from_python_is_an_exception(tmp_path):
    with pytest.raises(TrainingDiverged, match="at step"):
        tiny_runs.train(tmp_path, optimizer=lambda: keras.optimizers.SGD(1e12))


def test_data_that_changed_is_refused_unless_a_flag_allows_it(tmp_path):
    """Without the check, the run would go on as if nothing had happened."""
    settings = {"num_steps": 10, "callbacks": [checkpoints()]}
    with tiny_runs.untraced():
        tiny_runs.train(tmp_path, **settings | {"num_steps": 5})
        for other in (tiny_runs.dataset(num_train=55), tiny_runs.dataset(num_evaluation=12)):
            with pytest.raises(
                ConfigurationError, match=r"data of the run .* became .*`--allow_config_change`"
            ):
                tiny_runs.train(tmp_path, **settings, dataset=other)
        other = tiny_runs.dataset(num_train=55)
        assert tiny_runs.train(tmp_path, **settings, dataset=other, allow_config_change=True)["step"] == 10
    assert json.loads((tmp_path / "data.json").read_text())["splits"]["train"].startswith("55 images")
