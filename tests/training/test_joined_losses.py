"""Joined losses: a gradient that joins a group's with a weight that both decide, whatever cuts the batch."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.fixtures.replica_steps import images, make_step, stored
from vaeflow import random
from vaeflow.errors import ConfigurationError
from vaeflow.models import VAE, Term
from vaeflow.optimizers import JoinedLoss


class Joined(VAE):
    """A VAE whose latents are drawn to 1, with as large a gradient at the decoder's last kernel."""

    into = None
    group = "drawn"

    def joined_losses(self):
        return {"drawn": JoinedLoss(self.ratio, self.into)}

    def ratio(self, own, joined):
        kernel = self.decoder.output_layer.kernel
        path = [variable.path for variable in self.trainable_variables].index(kernel.path)
        return tf.norm(own[path]) / tf.norm(joined[path])

    def objective(self, forward, step):
        brightness = tf.reduce_mean(tf.square(forward.reconstruction.mean - 1.0), axis=[1, 2, 3])
        return super().objective(forward, step) | {"bright": Term(brightness, 3.0, self.group)}


def expected(step):
    """Gradients of the whole batch, the joined loss in the same sum with a weight known beforehand."""
    model = step.model
    variables = [variable.value for variable in model.trainable_variables]
    with tf.GradientTape(persistent=True) as tape, random.keyed(0, "train", 5):
        forward = model.forward(tf.cast(images(), tf.float64) / 255.0, 5, training=True)
        own = tf.reduce_mean(forward.reconstruction_loss + 0.5 * forward.kl)
        joined = 3.0 * tf.reduce_mean(tf.square(forward.reconstruction.mean - 1.0))
    at = model.decoder.output_layer.kernel.value
    weight = np.linalg.norm(tape.gradient(own, at)) / np.linalg.norm(tape.gradient(joined, at))
    with tape:
        total = own + weight * joined
    return tape.gradient(total, variables), weight


@pytest.mark.slow
@pytest.mark.parametrize("parts", ["whole", "accumulated", "side by side"])
def test_the_gradient_joins_that_of_the_group_with_a_weight_of_the_whole_batch(parts):
    step = make_step(Joined, gradient_accumulation_steps=4 if parts == "accumulated" else 1)
    if parts == "side by side":
        step.use_cores(2, step.probe({"images": images()}))
        assert step.parallel_parts == 2
    gradients, weight = expected(step)
    result = step.compute(stored(images()), 5)
    assert float(result.metrics["drawn_weight"]) == pytest.approx(weight, rel=1e-10)
    for found, of_sum in zip(result.gradients[0], gradients, strict=True):
        np.testing.assert_allclose(found, of_sum, rtol=1e-9, atol=1e-12)


def test_clipping_comes_after_the_gradients_are_joined():
    step = make_step(Joined, gradient_clip_norm=0.01)
    result = step.compute(stored(images()), 5)
    gradients, _ = expected(step)
    norm = np.sqrt(sum(np.sum(np.square(each)) for each in gradients))
    assert float(result.metrics["gradient_norm"]) == pytest.approx(norm, rel=1e-10)
    clipped = np.sqrt(sum(np.sum(np.square(each)) for each in result.gradients[0]))
    assert clipped == pytest.approx(0.01, rel=1e-10)


def test_the_norm_of_the_joined_gradient_is_reported_as_it_is_without_the_weight():
    step = make_step(Joined)
    result = step.compute(stored(images()), 5)
    with tf.GradientTape() as tape, random.keyed(0, "train", 5):
        forward = step.model.forward(tf.cast(images(), tf.float64) / 255.0, 5, training=True)
        joined = 3.0 * tf.reduce_mean(tf.square(forward.reconstruction.mean - 1.0))
    gradients = tape.gradient(joined, [variable.value for variable in step.model.trainable_variables])
    norm = np.sqrt(sum(np.sum(np.square(each)) for each in gradients if each is not None))
    assert float(result.metrics["drawn_gradient_norm"]) == pytest.approx(norm, rel=1e-10)


def test_a_probe_names_every_metric_of_a_step():
    step = make_step(Joined)
    names = step.probe({"images": images()}).metric_names
    assert set(names) == set(step.compute(stored(images()), 5).metrics)


def test_fit_makes_the_same_step():
    step = make_step(Joined)
    model = step.model
    model.kl_weight = 0.5
    gradients, _ = expected(step)
    before = [variable.numpy() for variable in model.trainable_variables]
    model.compile(optimizer=keras.optimizers.SGD(0.125), run_eagerly=True)
    with random.keyed(0, "train", 5):
        model.train_step(tf.cast(images(), tf.float64) / 255.0)
    for variable, start, gradient in zip(model.trainable_variables, before, gradients, strict=True):
        np.testing.assert_allclose(variable.numpy(), start - 0.125 * gradient, rtol=1e-9, atol=1e-12)


def test_a_weight_that_is_not_finite_stops_the_step():
    step = make_step(Joined)
    step.model.ratio = lambda own, joined: tf.constant(np.nan, tf.float64)
    step.joined = step.model.joined_losses()
    assert not bool(step.compute(stored(images()), 5).finite)


@pytest.mark.parametrize(
    ("attribute", "name", "message"),
    [
        ("into", "critic", "'drawn' is to be added to the parameter group 'critic', which is none of None"),
        ("group", "judge", "of the parameter group 'judge', which is none of None, 'drawn'"),
        ("group", None, "no term of the objective trains the parameter group 'drawn'"),
    ],
)
def test_names_must_be_known(attribute, name, message):
    kind = type("Faulty", (Joined,), {attribute: name})
    with pytest.raises(ConfigurationError, match=message):
        make_step(kind).loss({"images": images()}, 0)
