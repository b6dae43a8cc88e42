"""Calls that begin before anyone looks at the one before: the same numbers, and nothing after a bad step."""

import json
import threading

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.fixtures import numpy_vae, small_codes
from tests.fixtures.commands import REPOSITORY, Command
from tests.fixtures.small_trainers import BATCH, NUM_EXAMPLES, SEED, images, make_trainer
from vaeflow.datasets import InMemorySplit
from vaeflow.datasets.order import ExampleOrder
from vaeflow.errors import DataError, TrainingDiverged
from vaeflow.models import VQVAE, BetaVAE
from vaeflow.optimizers import Adam, AdamW
from vaeflow.schedules import CosineSchedule, LinearSchedule
from vaeflow.training import calls
from vaeflow.training.step_loop import StepLoop

WAYS = [("none", True), ("none", False), ("step", True), ("loop", True)]
LONG = [way if way == WAYS[0] else pytest.param(*way, marks=pytest.mark.long) for way in WAYS]


def optimizer():
    return AdamW(CosineSchedule(0.02, 0.001, 12))


def bits(trainer):
    """Everything that a step may change."""
    variables = [*trainer.model.variables, *trainer.optimizer.variables]
    variables = [*(variable.value for variable in variables), *trainer._average.variables]
    return [variable.numpy().tobytes() for variable in variables]


def loops(trainer, sizes, ahead):
    """Trains loops of some sizes; yields what each has measured, and the learning rates after it."""
    for size, following in zip(sizes, [*sizes[1:], 0]):
        begins = ahead and trainer.can_begin_ahead
        trainer.train(size, following if begins else 0)
        assert trainer.steps_ahead == (following if begins else 0)
        yield trainer.step, trainer.totals.num_steps, trainer.totals.sums, trainer.learning_rates()
        trainer.take_totals()


@pytest.fixture(autouse=True)
def gpu(monkeypatch):
    """Lets a call begin ahead as on a GPU; nothing else differs."""
    monkeypatch.setattr(calls, "gain_by_beginning_ahead", lambda: True)


class Held:
    """Lets each call of a `StepLoop` wait for a permit, and says when it was entered."""

    def __init__(self, monkeypatch):
        self.entered, self.permits = threading.Semaphore(0), threading.Semaphore(0)
        call = StepLoop._call

        def held(loop, *arguments):
            self.entered.release()
            assert self.permits.acquire(timeout=60)
            return call(loop, *arguments)

        monkeypatch.setattr(StepLoop, "_call", held)


@pytest.mark.slow
def test_a_call_begins_while_the_caller_has_the_results_of_the_one_before(monkeypatch):
    trainer = make_trainer()
    trainer.train(1)
    trainer.take_totals()
    held = Held(monkeypatch)
    held.permits.release()
    trainer.train(4, next_steps=3)
    # What follows a loop happens now: the call of steps 5 to 7 is under way, and cannot end.
    assert (trainer.step, trainer.totals.num_steps, trainer.steps_ahead) == (5, 4, 3)
    assert all(held.entered.acquire(timeout=60) for _ in range(2))
    trainer.take_totals()
    assert trainer.optimizer.iterations.numpy() == 5
    held.permits.release()
    trainer.train(3)
    assert (trainer.step, trainer.totals.num_steps, trainer.steps_ahead) == (8, 3, 0)
    assert trainer.optimizer.iterations.numpy() == 8


@pytest.mark.slow
@pytest.mark.parametrize(("compile_mode", "resident_data"), LONG)
def test_calls_ahead_have_the_same_bits(compile_mode, resident_data):
    """Weights, moments and average; sums, and learning rates, which a schedule has moved one call later."""

    def trained(ahead):
        trainer = make_trainer(
            optimizer,
            make_model=in_float32,
            compile_mode=compile_mode,
            resident_data=resident_data,
            ema_decay=0.5,
            gradient_accumulation_steps=2,
        )
        return list(loops(trainer, (1, 4, 4, 2, 3), ahead)), bits(trainer)

    (measured, one), (expected, other) = trained(True), trained(False)
    assert measured == expected
    assert one == other


def in_float32():
    keras.config.set_floatx("float32")
    keras.config.set_dtype_policy("float32")
    schedule = LinearSchedule(0.0, 1.0, 8)
    return BetaVAE(2.0, num_latents=3, kl_weight=schedule, **numpy_vae.blocks())


def split_with_a_bad_image(step, num_steps):
    """Float images, one of which is bad and is seen, of so many steps, at one step only."""
    order = ExampleOrder(NUM_EXAMPLES, BATCH, SEED)
    seen = {index for other in range(num_steps) if other != step for index in order.batch(other)}
    bad = next(index for index in order.batch(step) if index not in seen)
    split = InMemorySplit((images() / 255.0).astype(np.float32))
    split.array[bad, 1, 1, 0] = np.nan
    return split


def diverged(ahead, **settings):
    """All bits and the message after loops of 1, 2 and 2 steps; step 1 is bad, and step 2 follows it."""
    trainer = make_trainer(
        lambda: Adam(0.01), split_with_a_bad_image(step=1, num_steps=4), ema_decay=0.5, **settings
    )
    with pytest.raises(TrainingDiverged) as failed:
        list(loops(trainer, (1, 2, 1), ahead))
    assert trainer.steps_ahead == 0
    trainer.settle()
    assert trainer.step == 1
    return str(failed.value), trainer.optimizer.iterations.numpy(), bits(trainer)


@pytest.mark.slow
@pytest.mark.parametrize(("compile_mode", "resident_data"), LONG)
def test_a_call_that_has_begun_after_a_bad_step_trains_nothing(compile_mode, resident_data):
    """The good step after the bad one in its own call is taken, as it is without a call ahead."""
    settings = {"compile_mode": compile_mode, "resident_data": resident_data}
    message, iterations, found = diverged(True, **settings)
    expected = diverged(False, **settings)
    assert message.startswith("training diverged at step 1: reconstruction_loss is not finite; ")
    assert iterations == 2
    assert (message, iterations, found) == expected


@pytest.mark.slow
def test_updates_of_a_model_end_with_the_same_bits_after_a_bad_step():
    """A codebook that moves and starts anew, changed by no gradient."""

    def model():
        return VQVAE(4, **small_codes.blocks())

    assert diverged(True, make_model=model) == diverged(False, make_model=model)


@pytest.mark.slow
def test_a_bad_step_of_the_call_ahead_is_told_when_its_turn_comes():
    def trained(ahead):
        trainer = make_trainer(split=split_with_a_bad_image(step=2, num_steps=4))
        seen = []
        with pytest.raises(TrainingDiverged, match="at step 2: "):
            seen.extend(loops(trainer, (1, 1, 2), ahead))
        return seen, trainer.step, bits(trainer)

    assert trained(True) == trained(False)


@pytest.mark.slow
def test_an_error_of_a_call_is_raised_where_the_call_is_asked_for(monkeypatch):
    trainer = make_trainer()
    trainer.train(1)
    trainer.take_totals()
    call, fails = StepLoop._call, [False, True]

    def failing(loop, *arguments):
        if fails.pop(0):
            raise DataError("the example 7 cannot be read")
        return call(loop, *arguments)

    monkeypatch.setattr(StepLoop, "_call", failing)
    trainer.train(2, next_steps=2)
    trainer.take_totals()
    with pytest.raises(DataError, match="the example 7"):
        trainer.train(2, next_steps=2)
    trainer.settle()
    assert (trainer.step, trainer.steps_ahead) == (3, 0)


@pytest.mark.slow
def test_after_an_error_of_the_caller_the_step_is_that_of_the_weights():
    trainer = make_trainer()
    trainer.train(1)
    trainer.take_totals()
    trainer.train(2, next_steps=4)
    assert trainer.step == 3
    trainer.settle()
    assert (trainer.step, trainer.steps_ahead) == (7, 0)
    assert trainer.optimizer.iterations.numpy() == 7


@pytest.mark.slow
def test_what_no_call_ahead_can_be_is_refused():
    trainer = make_trainer()
    assert not trainer.can_begin_ahead
    with pytest.raises(ValueError, match="the first call must not begin ahead"):
        trainer.train(1, next_steps=1)
    trainer.train(1)
    assert trainer.can_begin_ahead
    with pytest.raises(ValueError, match="`num_steps` must be at most 4, got 5"):
        trainer.train(1, next_steps=5)
    trainer.settle()
    trainer.take_totals()
    trainer.train(1, next_steps=2)
    with pytest.raises(ValueError, match="`num_steps` must be 2, of the call ahead; got 3"):
        trainer.train(3)
    trainer.settle()
    with trainer.strategy.scope():
        assert not trainer.can_begin_ahead
    tf.config.run_functions_eagerly(True)
    try:
        assert not trainer.can_begin_ahead
    finally:
        tf.config.run_functions_eagerly(False)


@pytest.mark.parametrize("gpus", [0, 1])
def test_only_where_gpus_compute_calls_begin_ahead(monkeypatch, gpus):
    monkeypatch.undo()
    monkeypatch.setattr(tf.config, "list_logical_devices", lambda kind: [kind] * gpus)
    assert calls.gain_by_beginning_ahead() == bool(gpus)


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.processes
def test_calls_ahead_have_the_same_bits_on_two_replicas():
    finished = Command("tests.fixtures.calls_on_replicas", [], REPOSITORY).finish(seconds=1800)
    assert finished.code == 0, finished.error[-5000:]
    found = json.loads(finished.out.splitlines()[-1])
    assert len(found) == 8
    assert all(found.values()), found
