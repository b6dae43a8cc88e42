"""Who divides, what is clipped, and how parts of a batch add up."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.fixtures import numpy_vae
from vaeflow import optimizers
from vaeflow.errors import ConfigurationError
from vaeflow.models import VAE, Term
from vaeflow.replica_step import ReplicaStep, share_of_loss
from vaeflow.schedules import LinearSchedule

BATCH = 8


def fake_terms(part):
    """Terms of one part of the batch, whose per-example values are given."""
    return {
        "each": Term(tf.constant(part, tf.float64), 0.1),
        "whole": Term(tf.constant(5.0, tf.float64), tf.constant(3.0, tf.float32)),
        "plain": Term(tf.constant(part, tf.float64)),
    }


@pytest.mark.parametrize("num_parts", [1, 2, 4])
def test_shares_of_all_parts_sum_to_the_loss(num_parts):
    values = np.random.default_rng(0).normal(size=BATCH)
    blocks = np.random.default_rng(1).normal(size=(num_parts, 2))
    shares = [
        share_of_loss(fake_terms(part), [tf.constant(x, tf.float64) for x in losses], BATCH, num_parts)
        for part, losses in zip(values.reshape(num_parts, -1), blocks)
    ]
    block_losses = blocks.sum(axis=1).mean()
    expected = {
        "loss": 0.1 * values.mean() + 3.0 * 5.0 + values.mean() + block_losses,
        "each": values.mean(),
        "each_weight": 0.1,
        "whole": 5.0,
        "whole_weight": 3.0,
        "plain": values.mean(),
        "block_losses": block_losses,
    }
    assert sum(float(loss) for loss, _ in shares) == pytest.approx(expected["loss"], rel=1e-14)
    summed = {name: sum(float(share[name]) for _, share in shares) for name in shares[0][1]}
    assert summed == pytest.approx(expected, rel=1e-14)
    # A message about divergence names the first bad term: what is reported keeps its order.
    assert list(summed) == list(expected)


def test_without_block_losses_there_is_no_such_metric():
    _, shares = share_of_loss({"each": Term(tf.ones([BATCH]))}, [], BATCH, 1)
    assert set(shares) == {"loss", "each"}


def test_terms_of_the_whole_batch_are_not_accumulated():
    class Coupled(VAE):
        def objective(self, forward, step):
            return super().objective(forward, step) | {"spread": Term(tf.reduce_mean(forward.latents))}

    images = tf.zeros([2, 8, 8, 1])
    model = Coupled(2)
    model.build(images.shape)
    steps = {
        parts: ReplicaStep(model, None, "none", 8, seed=0, gradient_accumulation_steps=parts)
        for parts in (1, 2)
    }
    assert "spread" in steps[1].loss(images, 0)[1]
    with pytest.raises(ConfigurationError, match="'spread' couples the whole batch"):
        steps[2].loss(images, 0)


@pytest.mark.parametrize("axes", [(), (1,), (0, 1)])
def test_a_term_of_another_shape_is_refused(axes):
    class Faulty(VAE):
        def objective(self, forward, step):
            return {"size": Term(tf.reduce_sum(forward.images[..., 0], self.axes))}

    model = Faulty(2)
    images = tf.zeros([3, 8, 4, 1])
    model.build(images.shape)
    step = ReplicaStep(model, None, "none", 3, seed=0)
    model.axes = (1, 2)
    step.loss(images, 0)
    model.axes = axes
    with pytest.raises(ConfigurationError, match="term 'size' must be a scalar or have one value for each"):
        step.loss(images, 0)


def test_an_integer_weight():
    loss, _ = share_of_loss({"each": Term(tf.ones([BATCH]), 3)}, [], BATCH, 1)
    assert float(loss) == 3.0


def made(kind=VAE, **settings):
    model = kind(
        num_latents=3,
        dtype="float64",
        kl_weight=LinearSchedule(0.0, 1.0, 10),
        **numpy_vae.blocks(dtype="float64"),
    )
    model.build((None, 4, 3, 2))
    optimizer = keras.optimizers.SGD(0.125)
    optimizers.build_for_reduced_gradients(optimizer, model.trainable_variables)
    return ReplicaStep(model, optimizer, "none", BATCH, seed=0, **settings)


def images():
    return tf.constant(np.random.default_rng(0).integers(0, 256, (BATCH, 4, 3, 2)), tf.uint8)


def test_the_loss_is_the_mean_over_the_batch_of_the_twins_terms():
    step = made()
    floats = images().numpy() / 255
    mean, log_variance, _, outputs = numpy_vae.forward(step.model, floats, numpy_vae.noise(5, (BATCH, 3)))
    reconstruction, kl = numpy_vae.bernoulli_loss(outputs, floats), numpy_vae.kl(mean, log_variance)
    loss, shares = step.loss(images(), 5)
    assert float(loss) == pytest.approx(np.mean(reconstruction + 0.5 * kl), rel=1e-7)
    assert float(shares["reconstruction_loss"]) == pytest.approx(reconstruction.mean(), rel=1e-10)
    assert float(shares["kl"]) == pytest.approx(kl.mean(), rel=1e-10)
    assert float(shares["kl_weight"]) == pytest.approx(0.5)


def test_a_part_of_the_batch_draws_the_noise_of_its_positions():
    step = made()
    floats = images().numpy()[3:5] / 255
    epsilon = numpy_vae.noise(5, (BATCH, 3))[3:5]
    _, _, _, outputs = numpy_vae.forward(step.model, floats, epsilon)
    _, shares = step.loss(images()[3:5], 5, first_position=3)
    expected = numpy_vae.bernoulli_loss(outputs, floats).sum() / BATCH
    assert float(shares["reconstruction_loss"]) == pytest.approx(expected, rel=1e-10)


def test_dynamic_binarization_draws_each_pixel_anew():
    step = made()
    step.binarization = "dynamic"
    seen = []
    step.model.forward = lambda floats, training: (
        seen.append(floats.numpy()) or VAE.forward(step.model, floats, training)
    )
    for number in (0, 0, 1):
        step.loss(images(), number)
    assert set(np.unique(seen)) == {0.0, 1.0}
    np.testing.assert_array_equal(seen[0], seen[1])
    assert np.any(seen[0] != seen[2])


def global_norm(gradients):
    return np.sqrt(sum(np.sum(gradient.numpy() ** 2) for gradient in gradients))


@pytest.mark.parametrize("factor", [0.01, 0.5, 2.0])
def test_clipping_by_the_global_norm(factor):
    step = made()
    free, metrics, finite = step.gradient(images(), 5)
    norm = global_norm(free)
    assert bool(finite) and float(metrics["gradient_norm"]) == pytest.approx(norm, rel=1e-12)
    step.gradient_clip_norm = factor * norm
    clipped, metrics, _ = step.gradient(images(), 5)
    assert float(metrics["gradient_norm"]) == pytest.approx(norm, rel=1e-12)  # As it was before.
    for one, other in zip(clipped, free):
        np.testing.assert_allclose(one, min(1.0, factor) * other.numpy(), rtol=1e-10)
    assert global_norm(clipped) == pytest.approx(min(factor, 1.0) * norm, rel=1e-10)


@pytest.mark.parametrize("parts", [2, 4, 8])
def test_accumulated_gradients_are_those_of_the_whole_batch(parts):
    step = made()
    whole, metrics, _ = step.gradient(images(), 5)
    step.gradient_accumulation_steps = parts
    accumulated, other_metrics, _ = step.gradient(images(), 5)
    for one, other in zip(accumulated, whole):
        np.testing.assert_allclose(one, other, rtol=1e-12, atol=1e-14)
    assert set(metrics) == set(other_metrics)
    for name in metrics:
        assert float(other_metrics[name]) == pytest.approx(float(metrics[name]), rel=1e-12), name


def test_apply_takes_the_step_of_plain_gradient_descent():
    step = made()
    before = [variable.numpy() for variable in step.model.trainable_variables]
    gradients, _, _ = step.gradient(images(), 5)
    step.apply(gradients)
    for old, gradient, variable in zip(before, gradients, step.model.trainable_variables):
        np.testing.assert_allclose(variable, old - 0.125 * gradient, rtol=1e-13)


class Idle(VAE):
    """Has a layer that its objective does not use."""

    def build(self, input_shape):
        super().build(input_shape)
        self.unused = keras.layers.Dense(2, dtype="float64")
        self.unused.build((None, 2))


def test_a_variable_that_the_loss_does_not_reach_has_a_gradient_of_zero():
    step = made(Idle)
    gradients, _, finite = step.gradient(images(), 5)
    assert len(gradients) == len(step.model.trainable_variables) and bool(finite)
    assert sum(not np.any(gradient) for gradient in gradients) == 2


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_bad_pixel_is_seen(bad):
    step = made()
    pixels = images().numpy() / 255
    pixels[3, 0, 0, 0] = bad
    _, metrics, finite = step.gradient(tf.constant(pixels, tf.float32), 5)
    assert not bool(finite)
    assert not np.isfinite(metrics["reconstruction_loss"])
