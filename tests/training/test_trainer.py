"""The loop against hand-written ones."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.fixtures import numpy_vae
from tests.fixtures.small_trainers import (
    NUM_EXAMPLES,
    adam,
    assert_same,
    hand_written_run,
    images,
    make_trainer,
    twin_weights,
    weights,
)
from vaeflow.datasets.base import Split
from vaeflow.errors import ConfigurationError
from vaeflow.models import VAE, BetaVAE
from vaeflow.runs.totals import Totals
from vaeflow.schedules import LinearSchedule


def after(num_steps, **settings):
    """The weights after some steps, in loops of at most 4."""
    trainer = make_trainer(**settings)
    while trainer.step < num_steps:
        trainer.train_and_report(min(4, num_steps - trainer.step))
    return weights(trainer)


@pytest.mark.slow
@pytest.mark.parametrize("compile_mode", ["none", pytest.param("loop", marks=pytest.mark.long)])
def test_plain_gradient_descent_equals_a_hand_written_loop(compile_mode):
    """Over 11 steps, which straddle epochs, in loops of 4, 4 and 3."""
    trainer = make_trainer(compile_mode=compile_mode)
    start = twin_weights(trainer)
    reported = [trainer.train_and_report(count) for count in (4, 4, 3)]
    expected, losses = hand_written_run(start, 11)
    assert_same(twin_weights(trainer), expected, 1e-10)
    means = [losses[:4].mean(axis=0), losses[4:8].mean(axis=0), losses[8:].mean(axis=0)]
    for metrics, (loss, reconstruction, kl) in zip(reported, means):
        assert metrics["loss"] == pytest.approx(loss, rel=1e-10)
        assert metrics["reconstruction_loss"] == pytest.approx(reconstruction, rel=1e-10)
        assert metrics["kl"] == pytest.approx(kl, rel=1e-10)
        assert metrics["gradient_norm"] > 0
        assert metrics["input_seconds"] >= 0
    assert trainer.step == 11


@pytest.mark.slow
def test_schedules_read_the_global_step():
    schedule = LinearSchedule(0.0, 1.0, 8)
    trainer = make_trainer(
        make_model=lambda: BetaVAE(2.0, num_latents=3, kl_weight=schedule, **numpy_vae.blocks())
    )
    start = twin_weights(trainer)
    reported = [trainer.train_and_report(4)["kl_weight"] for _ in range(3)]
    expected, _ = hand_written_run(start, 12, kl_weight=lambda step: 2.0 * min(step / 8, 1.0))
    assert_same(twin_weights(trainer), expected, 1e-10)
    np.testing.assert_allclose(reported, [2 * 1.5 / 8, 2 * 5.5 / 8, 2.0], rtol=1e-10)


@pytest.mark.slow
def test_learning_rate_schedules_read_the_steps_taken():
    trainer = make_trainer(lambda: keras.optimizers.SGD(LinearSchedule(0.05, 0.0, 4)))
    trainer.train_and_report(4)
    trainer.train_and_report(2)
    still = weights(trainer)
    trainer.train_and_report(1)
    assert_same(weights(trainer), still, 0)


class Stream(Split):
    """The same images, not held as an array."""

    def examples(self, indices):
        return tf.gather(tf.constant(images()), indices)


@pytest.mark.slow
def test_streamed_and_resident_data_give_the_same_weights():
    resident = after(9, resident_data=True)
    assert_same(after(9, resident_data=False), resident)
    stream = Stream(NUM_EXAMPLES, (4, 3, 2), "uint8")
    assert_same(after(9, split=stream), resident)


@pytest.mark.slow
def test_how_the_steps_are_cut_into_loops_does_not_matter():
    whole = after(8)
    trainer = make_trainer()
    for count in (1, 3, 2, 2):
        trainer.train_and_report(count)
    assert_same(weights(trainer), whole, 0)


def in_float32():
    keras.config.set_floatx("float32")
    keras.config.set_dtype_policy("float32")
    return VAE(num_latents=3, **numpy_vae.blocks())


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.parametrize(
    ("compile_mode", "resident_data"), [("none", True), ("step", True), ("loop", True), ("none", False)]
)
def test_means_have_the_same_bits_however_a_loop_is_cut(compile_mode, resident_data):
    """And no part compiles again. Averaging the parts' means, or adding up their sums, rounds otherwise."""
    settings = {"make_model": in_float32, "steps_per_loop": 9, "resident_data": resident_data}
    whole, cut = (make_trainer(compile_mode=compile_mode, **settings) for _ in range(2))
    for *parts, last in ((1, 1, 2, 5), (8, 1), (3, 3, 3)):
        for part in parts:
            cut.train(part)
        one, other = whole.train_and_report(9), cut.train_and_report(last)
        assert one.keys() == other.keys() >= {"loss", "kl", "gradient_norm"}
        assert {name for name in one if one[name] != other[name]} <= {"input_seconds"}
    assert cut._calls._loop._loop.experimental_get_tracing_count() == 1


@pytest.mark.slow
def test_time_is_added_up_over_the_parts_of_a_loop():
    trainer = make_trainer(resident_data=False)
    seconds = trainer.train(1) + trainer.train(2)
    waited = trainer.totals.input_seconds
    assert trainer.totals.seconds == pytest.approx(seconds)
    assert trainer.totals.num_steps == 3
    trainer.train(1)
    assert seconds > waited > 0
    assert trainer.totals.input_seconds >= waited  # A batch that is there already costs nothing.
    assert trainer.take_totals().num_steps == 4
    assert trainer.totals == Totals()


@pytest.mark.slow
def test_totals_are_carried_over_where_the_same_is_measured():
    one, other = make_trainer(), make_trainer()
    one.train(3)
    other.resume_at(3, one.totals)
    assert other.totals == one.totals
    other.resume_at(3, Totals(3, 1.0, 0.0, {"loss": 1.0}))
    assert other.totals == Totals()


@pytest.mark.slow
def test_a_trainer_resumes_at_a_step():
    whole = make_trainer()
    whole.train_and_report(4)
    kept = weights(whole)
    whole.train_and_report(4)
    for resident in (True, False):
        resumed = make_trainer(resident_data=resident)
        for variable, value in zip(resumed.model.weights, kept):
            variable.assign(value)
        resumed.resume_at(4)
        resumed.train_and_report(4)
        assert_same(weights(resumed), weights(whole))


@pytest.mark.long
def test_a_checkpoint_leaves_the_learning_rate_to_the_configuration(tmp_path):
    slow, fast = (
        make_trainer(lambda: keras.optimizers.Adam(1e-5)),
        make_trainer(lambda: keras.optimizers.Adam(1e-2)),
    )
    fast.train_and_report(4)
    slow.checkpoint().read(fast.checkpoint().write(str(tmp_path / "variables"))).assert_consumed()
    assert_same(weights(slow), weights(fast))
    assert float(slow.optimizer.learning_rate.numpy()) == pytest.approx(1e-5)
    assert int(slow.optimizer.iterations.numpy()) == 4


@pytest.mark.long
@pytest.mark.slow
def test_gradient_accumulation_gives_the_same_weights():
    whole = after(6, optimizer=adam)
    for parts in (2, 4):
        assert_same(after(6, optimizer=adam, gradient_accumulation_steps=parts), whole)


@pytest.mark.slow
def test_clipping_shortens_the_step_to_the_norm():
    start = weights(make_trainer())
    trainer = make_trainer(gradient_clip_norm=0.5)
    norm = trainer.train_and_report(1)["gradient_norm"]
    assert norm > 0.5
    moved = [new - old for new, old in zip(weights(trainer), start)]
    assert np.sqrt(sum(np.sum(delta**2) for delta in moved)) == pytest.approx(0.05 * 0.5, rel=1e-10)


@pytest.mark.parametrize(
    ("batch_size", "parts", "advice"), [(9, 2, "try 8"), (8, 3, "try 9"), (1, 4, "try 4")]
)
def test_a_batch_that_cannot_be_divided_is_refused(batch_size, parts, advice):
    message = rf"`train.batch_size` .* \(1\) .*_steps` \({parts}\), got {batch_size}; {advice}"
    with pytest.raises(ConfigurationError, match=message):
        make_trainer(batch_size=batch_size, gradient_accumulation_steps=parts)


@pytest.mark.long
def test_a_batch_may_be_larger_than_the_dataset():
    trainer = make_trainer(batch_size=50)
    assert np.isfinite(trainer.train_and_report(2)["loss"])


@pytest.mark.parametrize("compile_mode", ["none", "loop"])
def test_more_steps_than_a_loop_holds_are_refused(compile_mode):
    with pytest.raises(ValueError, match="`num_steps` must be at most 4, got 5"):
        make_trainer(compile_mode=compile_mode).train_and_report(5)


def test_a_batch_larger_than_the_data_is_told(caplog):
    make_trainer(batch_size=24)
    told = [record.getMessage() for record in caplog.records if "train.batch_size" in record.getMessage()]
    assert len(told) == 1
    assert "`train.batch_size` is 24 and there are 21 training images" in told[0]
