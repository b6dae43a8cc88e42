"""Who divides, what is clipped, and how parts of a batch add up."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.fixtures import numpy_vae
from tests.fixtures.noted_calls import note_batch_sizes, noting
from tests.fixtures.replica_steps import BATCH, Coupled, images, make_step, stored
from vaeflow import random
from vaeflow.devices import cores
from vaeflow.layers import DenseEncoder
from vaeflow.models import VAE


def test_the_loss_is_the_mean_over_the_batch_of_the_twins_terms():
    step = make_step()
    floats = images().numpy() / 255
    mean, log_variance, _, outputs = numpy_vae.forward(step.model, floats, numpy_vae.noise(5, (BATCH, 3)))
    reconstruction, kl = numpy_vae.bernoulli_loss(outputs, floats), numpy_vae.kl(mean, log_variance)
    losses, shares = step.loss({"images": images()}, 5)
    assert float(losses[None]) == pytest.approx(np.mean(reconstruction + 0.5 * kl), rel=1e-7)
    assert float(shares["reconstruction_loss"]) == pytest.approx(reconstruction.mean(), rel=1e-10)
    assert float(shares["kl"]) == pytest.approx(kl.mean(), rel=1e-10)
    assert float(shares["kl_weight"]) == pytest.approx(0.5)


def test_a_part_of_the_batch_draws_the_noise_of_its_positions():
    step = make_step()
    floats = images().numpy()[3:5] / 255
    epsilon = numpy_vae.noise(5, (BATCH, 3))[3:5]
    _, _, _, outputs = numpy_vae.forward(step.model, floats, epsilon)
    _, shares = step.loss({"images": images()[3:5]}, 5, first_position=3)
    expected = numpy_vae.bernoulli_loss(outputs, floats).sum() / BATCH
    assert float(shares["reconstruction_loss"]) == pytest.approx(expected, rel=1e-10)


def test_dynamic_binarization_draws_each_pixel_anew():
    step = make_step()
    step.split.binarization = "dynamic"
    seen = []
    step.model.forward = noting(step.model.forward, seen, lambda batch, *_, **__: batch["images"].numpy())
    for number in (0, 0, 1):
        step.loss({"images": images()}, number)
    assert set(np.unique(seen)) == {0.0, 1.0}
    np.testing.assert_array_equal(seen[0], seen[1])
    assert np.any(seen[0] != seen[2])


def gradients_and_metrics(step):
    result = step.compute(stored(images()), 5)
    return result.gradients[0], result.metrics


def global_norm(gradients):
    return np.sqrt(sum(np.sum(gradient.numpy() ** 2) for gradient in gradients))


@pytest.mark.slow
@pytest.mark.parametrize("factor", [0.01, 0.5, 2.0])
def test_clipping_by_the_global_norm(factor):
    result = make_step().compute(stored(images()), 5)
    free, metrics = result.gradients[0], result.metrics
    norm = global_norm(free)
    assert bool(result.finite)
    assert float(metrics["gradient_norm"]) == pytest.approx(norm, rel=1e-12)
    result = make_step(gradient_clip_norm=factor * norm).compute(stored(images()), 5)
    clipped, metrics = result.gradients[0], result.metrics
    assert float(metrics["gradient_norm"]) == pytest.approx(norm, rel=1e-12)  # As it was before.
    for one, other in zip(clipped, free):
        np.testing.assert_allclose(one, min(1.0, factor) * other.numpy(), rtol=1e-10)
    assert global_norm(clipped) == pytest.approx(min(factor, 1.0) * norm, rel=1e-10)


@pytest.mark.parametrize("parts", [2, 4, 8])
def test_accumulated_gradients_are_those_of_the_whole_batch(parts):
    step = make_step()
    whole, metrics = gradients_and_metrics(step)
    step.num_rounds = parts
    sizes = note_batch_sizes(step.model.encoder)
    accumulated, other_metrics = gradients_and_metrics(step)
    assert sizes == [BATCH // parts] * parts
    for one, other in zip(accumulated, whole):
        np.testing.assert_allclose(one, other, rtol=1e-12, atol=1e-14)
    assert set(metrics) == set(other_metrics)
    for name in metrics:
        assert float(other_metrics[name]) == pytest.approx(float(metrics[name]), rel=1e-12), name


class Noisy(DenseEncoder):
    """Draws noise of its own, and tracks a loss."""

    def call(self, images, training=None):
        features = super().call(images, training)
        self.add_loss(tf.reduce_mean(features))
        return features + random.normal((tf.shape(features)[0], 6), "float64")


@pytest.mark.slow
@pytest.mark.parametrize("parts", [2, 4])
@pytest.mark.parametrize("rounds", [1, 2])
def test_gradients_of_parts_side_by_side_are_those_of_the_whole_batch(parts, rounds):
    step = make_step(encoder=Noisy((6,), dtype="float64"))
    whole, metrics = gradients_and_metrics(step)
    assert "block_losses" in metrics
    step.use_cores(parts, step.probe({"images": images()}), rounds)
    assert (step.parallel_parts, step.num_rounds) == (parts, rounds)
    sizes = note_batch_sizes(step.model.encoder)
    cut, other_metrics = gradients_and_metrics(step)
    # One trace serves all parts.
    assert sizes == [BATCH // parts // rounds]
    for one, other in zip(cut, whole, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-12, atol=1e-14)
    assert {name: float(value) for name, value in other_metrics.items()} == pytest.approx(
        {name: float(value) for name, value in metrics.items()}, rel=1e-12
    )


def test_a_debugger_sees_each_part():
    step = make_step()
    step.use_cores(2, step.probe({"images": images()}))
    sizes = note_batch_sizes(step.model.encoder)
    tf.config.run_functions_eagerly(True)
    try:
        gradients_and_metrics(step)
    finally:
        tf.config.run_functions_eagerly(False)
    assert sizes == [BATCH // 2] * 2


@pytest.mark.parametrize("coupled", ["term", "per_example"])
def test_of_an_objective_that_couples_examples_only_blocks_are_cut(monkeypatch, coupled):
    step = make_step(Coupled if coupled == "term" else VAE)
    step.model.couples_examples = coupled == "per_example"
    whole, _ = gradients_and_metrics(step)
    step.use_cores(2, step.probe({"images": images()}))
    monkeypatch.setattr(cores, "operations_at_a_time", lambda: 2)
    sizes = note_batch_sizes(step.model.encoder)
    cut, _ = gradients_and_metrics(step)
    assert step.parallel_parts == 1
    assert sizes == [BATCH // 2] * 2
    for one, other in zip(cut, whole, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-12, atol=1e-14)


def normalized():
    return keras.Sequential([keras.layers.Flatten(), keras.layers.BatchNormalization(dtype="float64")])


@pytest.mark.parametrize(
    ("kind", "encoder"),
    [(VAE, normalized), (Coupled, normalized), (Coupled, lambda: Noisy((6,), dtype="float64"))],
)
def test_what_cannot_be_cut_stays_whole(monkeypatch, kind, encoder):
    step = make_step(kind, encoder=encoder())
    step.use_cores(2, step.probe({"images": images()}))
    monkeypatch.setattr(cores, "operations_at_a_time", lambda: 2)
    sizes = note_batch_sizes(step.model.encoder)
    step.compute(stored(images()), 5)
    assert step.parallel_parts == 1
    assert sizes == [BATCH]


def test_apply_takes_the_step_of_plain_gradient_descent():
    step = make_step()
    before = [variable.numpy() for variable in step.model.trainable_variables]
    result = step.compute(stored(images()), 5)
    step.apply(tf.distribute.get_strategy(), result, 5)
    for old, gradient, variable in zip(before, result.gradients[0], step.model.trainable_variables):
        np.testing.assert_allclose(variable, old - 0.125 * gradient, rtol=1e-13)


class Idle(VAE):
    """Has a layer that its objective does not use."""

    def build(self, input_shape):
        super().build(input_shape)
        self.unused = keras.layers.Dense(2, dtype="float64")
        self.unused.build((None, 2))


def test_a_variable_that_the_loss_does_not_reach_has_a_gradient_of_zero():
    step = make_step(Idle)
    result = step.compute(stored(images()), 5)
    gradients = result.gradients[0]
    assert len(gradients) == len(step.model.trainable_variables)
    assert bool(result.finite)
    assert sum(not np.any(gradient) for gradient in gradients) == 2


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_bad_pixel_is_seen(bad):
    step = make_step()
    pixels = images().numpy() / 255
    pixels[3, 0, 0, 0] = bad
    result = step.compute(stored(tf.constant(pixels, tf.float32)), 5)
    assert not bool(result.finite)
    assert not bool(result.applies)
    assert not np.isfinite(result.metrics["reconstruction_loss"])
