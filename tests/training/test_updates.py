"""Updates: changes of variables that no gradient makes, from sums over the global batch."""

import numpy as np
import pytest
import tensorflow as tf

from tests.fixtures import numpy_vae
from tests.fixtures.replica_steps import BATCH, images, make_step, stored
from tests.fixtures.small_trainers import make_trainer, weights
from vaeflow.errors import ConfigurationError
from vaeflow.models import VAE, Update
from vaeflow.training.trainer import Trainer


class Counting(VAE):
    """Keeps the sum and the number of all latents that it was trained on."""

    def build(self, input_shape):
        super().build(input_shape)
        self.total = self.add_weight(shape=(3,), trainable=False, initializer="zeros", name="total")
        self.count = self.add_weight(shape=(), trainable=False, initializer="zeros", name="count")

    def updates(self, forward, step):
        count = tf.cast(tf.shape(forward.latents)[0], forward.latents.dtype)
        sums = {"latents": tf.reduce_sum(forward.latents, axis=0), "count": count}
        return {
            "latents": Update(
                sums,
                lambda s: [(self.total, self.total + s["latents"]), (self.count, self.count + s["count"])],
            )
        }


def counting_trainer(**settings):
    return make_trainer(make_model=lambda: Counting(num_latents=3, **numpy_vae.blocks()), **settings)


@pytest.mark.slow
def test_the_sums_are_those_of_the_whole_batch_in_parts_and_accumulated():
    """Updated once per part, as an `assign` in `forward` would, the count would be another."""
    trainers = {
        "whole": counting_trainer(),
        "accumulated": counting_trainer(gradient_accumulation_steps=2),
        "compiled": counting_trainer(compile_mode="loop"),
    }
    for trainer in trainers.values():
        trainer.train(3)
    totals = {name: trainer.model.total.numpy() for name, trainer in trainers.items()}
    assert {trainer.model.count.numpy().item() for trainer in trainers.values()} == {3.0 * 8}
    for name in ("accumulated", "compiled"):
        np.testing.assert_allclose(totals[name], totals["whole"], rtol=1e-12)


@pytest.mark.slow
def test_parts_side_by_side_add_up():
    step = make_step(Counting)
    whole = step.compute(stored(images()), 5)
    step.use_cores(2, step.probe({"images": images()}))
    assert step.parallel_parts == 2
    cut = step.compute(stored(images()), 5)
    for one, other in zip(cut.new_values, whole.new_values, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-12)


def test_the_first_try_and_evaluation_update_nothing():
    trainer = counting_trainer()
    assert trainer.model.count.numpy().item() == 0
    trainer.model.forward(tf.zeros((2, 4, 3, 2), tf.float64))
    assert trainer.model.count.numpy().item() == 0


@pytest.mark.slow
def test_a_skipped_step_updates_nothing_and_is_counted():
    trainer = counting_trainer(skip_gradient_norm=1e-6)
    before = weights(trainer)
    report = trainer.train_and_report(3)
    assert report["skipped"] == 1.0
    assert trainer.step == 3
    for one, other in zip(weights(trainer), before, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.long
def test_a_high_limit_skips_nothing():
    trainer, free = counting_trainer(skip_gradient_norm=1e6), counting_trainer()
    assert trainer.train_and_report(3)["skipped"] == 0.0
    free.train(3)
    for one, other in zip(weights(trainer), weights(free), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.slow
def test_fit_updates_once_a_batch():
    step = make_step(Counting)
    step.model.compile(optimizer="sgd")
    step.model.fit(images().numpy() / 255.0, batch_size=4, epochs=2, verbose=0)
    assert float(step.model.count) == 2 * BATCH


class Overwriting(Counting):
    """Updates a variable that is trained as well."""

    def updates(self, forward, step):
        kernel = self.trainable_variables[0]
        return {"kernel": Update(tf.reduce_sum(forward.latents), lambda _: [(kernel, kernel)])}


class Clashing(Counting):
    """Two updates of one variable."""

    def updates(self, forward, step):
        return super().updates(forward, step) | {
            "again": Update(tf.reduce_sum(forward.latents), lambda _: [(self.count, self.count)])
        }


class Misshapen(Counting):
    """An update of another shape."""

    def updates(self, forward, step):
        return {"total": Update(tf.reduce_sum(forward.latents), lambda total: [(self.total, total)])}


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (Overwriting, "which an optimizer trains; make it with trainable=False"),
        (Clashing, "two updates change the variable .*count"),
        (Misshapen, r"of shape \(3,\), a value of shape \(\)"),
    ],
)
def test_an_update_that_cannot_be_made_is_refused_before_training(kind, message):
    with pytest.raises(ConfigurationError, match=message):
        make_step(kind).probe({"images": images()})


class Logging(Counting):
    """Logs the mean of the latents of the global batch."""

    metric = "latents/mean"

    def updates(self, forward, step):
        (update,) = super().updates(forward, step).values()
        return {"latents": update._replace(metrics=self.measured)}

    def measured(self, sums):
        return {self.metric: tf.reduce_sum(sums["latents"]) / sums["count"]}


@pytest.mark.long
def test_what_an_update_logs_is_of_the_whole_batch():
    reports = [
        make_trainer(
            make_model=lambda: Logging(num_latents=3, **numpy_vae.blocks()),
            gradient_accumulation_steps=count,
        ).train_and_report(1)
        for count in (1, 2)
    ]
    assert reports[0]["latents/mean"] != 0
    assert reports[1]["latents/mean"] == pytest.approx(reports[0]["latents/mean"], rel=1e-12)


class Masking(Logging):
    """Logs by the name of a term."""

    metric = "kl"


class Spreading(Logging):
    """Logs a vector."""

    def measured(self, sums):
        return {"latents": sums["latents"]}


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (Masking, "logs 'kl', which a term or the step itself logs; choose another name"),
        (Spreading, "logs 'latents' as .*; it must be a scalar tensor"),
    ],
)
def test_what_cannot_be_logged_is_refused_before_training(kind, message):
    with pytest.raises(ConfigurationError, match=message):
        make_step(kind).probe({"images": images()})


@pytest.mark.slow
def test_updates_are_part_of_the_checkpoint(tmp_path):
    whole = counting_trainer()
    whole.train(2)
    path = whole.checkpoint().write(str(tmp_path / "variables"))
    whole.train(2)
    resumed: Trainer = counting_trainer()
    resumed.checkpoint().read(path).assert_consumed()
    resumed.resume_at(2)
    resumed.train(2)
    np.testing.assert_array_equal(resumed.model.total, whole.model.total)
