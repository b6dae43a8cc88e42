"""Who divides, what is clipped, and how parts of a batch add up."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.fixtures import numpy_vae
from vaeflow import optimizers, random
from vaeflow.devices import cores
from vaeflow.errors import ConfigurationError
from vaeflow.layers import DenseEncoder
from vaeflow.models import VAE, Term
from vaeflow.optimizers import ParameterGroup
from vaeflow.schedules import LinearSchedule
from vaeflow.training.replica_step import ReplicaStep, share_of_loss

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
    assert sum(float(losses[None]) for losses, _ in shares) == pytest.approx(expected["loss"], rel=1e-14)
    summed = {name: sum(float(share[name]) for _, share in shares) for name in shares[0][1]}
    assert summed == pytest.approx(expected, rel=1e-14)
    # A message about divergence names the first bad term: what is reported keeps its order.
    assert list(summed) == list(expected)


def test_without_block_losses_there_is_no_such_metric():
    _, shares = share_of_loss({"each": Term(tf.ones([BATCH]))}, [], BATCH, 1)
    assert set(shares) == {"loss", "each"}


def test_terms_of_the_whole_batch_are_not_accumulated():
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
    losses, _ = share_of_loss({"each": Term(tf.ones([BATCH]), 3)}, [], BATCH, 1)
    assert float(losses[None]) == 3.0


def made(kind=VAE, encoder=None, **settings):
    keras.utils.set_random_seed(0)
    blocks = numpy_vae.blocks(dtype="float64")
    blocks["encoder"] = encoder or blocks["encoder"]
    model = kind(num_latents=3, dtype="float64", kl_weight=LinearSchedule(0.0, 1.0, 10), **blocks)
    model.build((None, 4, 3, 2))
    optimizer = keras.optimizers.SGD(0.125)
    for group in model.all_parameter_groups(optimizer).values():
        optimizers.build_for_reduced_gradients(group.optimizer, group.variables)
    return ReplicaStep(model, optimizer, "none", BATCH, seed=0, **settings)


def images():
    return tf.constant(np.random.default_rng(0).integers(0, 256, (BATCH, 4, 3, 2)), tf.uint8)


def test_the_loss_is_the_mean_over_the_batch_of_the_twins_terms():
    step = made()
    floats = images().numpy() / 255
    mean, log_variance, _, outputs = numpy_vae.forward(step.model, floats, numpy_vae.noise(5, (BATCH, 3)))
    reconstruction, kl = numpy_vae.bernoulli_loss(outputs, floats), numpy_vae.kl(mean, log_variance)
    losses, shares = step.loss(images(), 5)
    assert float(losses[None]) == pytest.approx(np.mean(reconstruction + 0.5 * kl), rel=1e-7)
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
    [free], metrics, finite = made().gradient(images(), 5)
    norm = global_norm(free)
    assert bool(finite)
    assert float(metrics["gradient_norm"]) == pytest.approx(norm, rel=1e-12)
    [clipped], metrics, _ = made(gradient_clip_norm=factor * norm).gradient(images(), 5)
    assert float(metrics["gradient_norm"]) == pytest.approx(norm, rel=1e-12)  # As it was before.
    for one, other in zip(clipped, free):
        np.testing.assert_allclose(one, min(1.0, factor) * other.numpy(), rtol=1e-10)
    assert global_norm(clipped) == pytest.approx(min(factor, 1.0) * norm, rel=1e-10)


@pytest.mark.parametrize("parts", [2, 4, 8])
def test_accumulated_gradients_are_those_of_the_whole_batch(parts):
    step = made()
    [whole], metrics, _ = step.gradient(images(), 5)
    step.gradient_accumulation_steps = parts
    [accumulated], other_metrics, _ = step.gradient(images(), 5)
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


@pytest.mark.parametrize("parts", [2, 4])
@pytest.mark.parametrize("accumulated", [1, 2])
def test_gradients_of_parts_side_by_side_are_those_of_the_whole_batch(parts, accumulated):
    step = made(encoder=Noisy((6,), dtype="float64"))
    [whole], metrics, _ = step.gradient(images(), 5)
    assert "block_losses" in metrics
    step.use_cores(parts)
    assert step.parallel_parts == parts
    step.gradient_accumulation_steps = accumulated
    sizes = noted_sizes(step.model)
    [cut], other_metrics, _ = step.gradient(images(), 5)
    assert sizes == [BATCH // parts // accumulated] * parts * accumulated
    for one, other in zip(cut, whole, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-12, atol=1e-14)
    assert {name: float(value) for name, value in other_metrics.items()} == pytest.approx(
        {name: float(value) for name, value in metrics.items()}, rel=1e-12
    )


def noted_sizes(model):
    """Notes in a list of how many examples each pass of the encoder is."""
    sizes, call = [], model.encoder.call
    model.encoder.call = lambda images, training=None, mask=None: (
        sizes.append(images.shape[0]) or call(images, training=training)
    )
    return sizes


class Coupled(VAE):
    def objective(self, forward, step):
        return super().objective(forward, step) | {"spread": Term(tf.reduce_mean(forward.latents))}


@pytest.mark.parametrize("coupled", ["term", "per_example"])
def test_of_an_objective_that_couples_examples_only_blocks_are_cut(monkeypatch, coupled):
    step = made(Coupled if coupled == "term" else VAE)
    step.model.couples_examples = coupled == "per_example"
    [whole], _, _ = step.gradient(images(), 5)
    step.use_cores(2)
    monkeypatch.setattr(cores, "operations_at_a_time", lambda: 2)
    sizes = noted_sizes(step.model)
    [cut], _, _ = step.gradient(images(), 5)
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
    step = made(kind, encoder=encoder())
    step.loss(images(), 5)
    step.use_cores(2)
    monkeypatch.setattr(cores, "operations_at_a_time", lambda: 2)
    sizes = noted_sizes(step.model)
    step.gradient(images(), 5)
    assert step.parallel_parts == 1
    assert sizes == [BATCH]


def test_apply_takes_the_step_of_plain_gradient_descent():
    step = made()
    before = [variable.numpy() for variable in step.model.trainable_variables]
    gradients, _, _ = step.gradient(images(), 5)
    step.apply(gradients)
    for old, gradient, variable in zip(before, gradients[0], step.model.trainable_variables):
        np.testing.assert_allclose(variable, old - 0.125 * gradient, rtol=1e-13)


class Idle(VAE):
    """Has a layer that its objective does not use."""

    def build(self, input_shape):
        super().build(input_shape)
        self.unused = keras.layers.Dense(2, dtype="float64")
        self.unused.build((None, 2))


def test_a_variable_that_the_loss_does_not_reach_has_a_gradient_of_zero():
    step = made(Idle)
    [gradients], _, finite = step.gradient(images(), 5)
    assert len(gradients) == len(step.model.trainable_variables)
    assert bool(finite)
    assert sum(not np.any(gradient) for gradient in gradients) == 2


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_bad_pixel_is_seen(bad):
    step = made()
    pixels = images().numpy() / 255
    pixels[3, 0, 0, 0] = bad
    _, metrics, finite = step.gradient(tf.constant(pixels, tf.float32), 5)
    assert not bool(finite)
    assert not np.isfinite(metrics["reconstruction_loss"])


class Adversarial(VAE):
    """A VAE with a critic of its latents, which is trained to another end by its own optimizer."""

    critic_group = "critic"

    def build(self, input_shape):
        super().build(input_shape)
        self.critic = keras.layers.Dense(1, dtype=self.dtype_policy)
        self.critic.build((None, self.num_latents))
        self.critic_optimizer = keras.optimizers.SGD(0.5)

    def parameter_groups(self):
        return {"critic": ParameterGroup(self.critic.trainable_variables, self.critic_optimizer, 0.01)}

    def objective(self, forward, step):
        scores = self.critic(forward.latents)[:, 0]
        return super().objective(forward, step) | {
            "fooled": Term(scores, 2.0),
            "critic_loss": Term(tf.square(scores - 1.0), 3.0, group=self.critic_group),
        }


def test_each_group_has_its_loss_its_clipping_and_its_optimizer():
    step = made(Adversarial, gradient_clip_norm=0.5)
    own, critic = step.groups[None].variables, step.groups["critic"].variables
    assert [v.path for v in (*own, *critic)] == [v.path for v in step.model.trainable_variables]
    losses, shares = step.loss(images(), 5)
    parts = {name: float(share) for name, share in shares.items()}
    expected = parts["reconstruction_loss"] + 0.5 * parts["kl"] + 2.0 * parts["fooled"]
    assert float(losses[None]) == parts["loss"] == pytest.approx(expected, rel=1e-12)
    assert float(losses["critic"]) == pytest.approx(3.0 * parts["critic_loss"], rel=1e-12)

    before = [variable.numpy() for variable in (*own, *critic)]
    gradients, metrics, finite = step.gradient(images(), 5)
    step.apply(gradients)
    moves = [variable.numpy() - old for variable, old in zip((*own, *critic), before)]
    assert bool(finite)
    assert float(metrics["gradient_norm"]) > 0.5
    assert float(metrics["critic_gradient_norm"]) > 0.01
    lengths = [np.sqrt(sum(np.sum(m**2) for m in part)) for part in (moves[: len(own)], moves[len(own) :])]
    assert lengths == pytest.approx([0.125 * 0.5, 0.5 * 0.01], rel=1e-10)  # Learning rate times norm.


@pytest.mark.parametrize("place", ["own", "critic"])
def test_a_bad_gradient_of_one_group_stops_all(place):
    step = made(Adversarial)
    variable = step.groups[None if place == "own" else "critic"].variables[0]
    variable.assign(np.full(variable.shape, np.nan))
    assert not bool(step.gradient(images(), 5)[2])


def test_a_loss_that_is_not_finite_in_one_group_only_stops_all():
    step = made(Adversarial)
    objective = step.model.objective
    bad = Term(tf.fill([BATCH], tf.constant(np.inf, tf.float64)), group="critic")
    step.model.objective = lambda *arguments: objective(*arguments) | {"bad": bad}
    losses, _ = step.loss(images(), 5)
    assert np.isfinite(losses[None])
    assert not np.isfinite(losses["critic"])
    assert not bool(step.gradient(images(), 5)[2])


@pytest.mark.parametrize(
    ("group", "message"),
    [
        ("judge", "term 'critic_loss' is of the parameter group 'judge', which is none of None, 'critic'"),
        (None, "no term of the objective trains the parameter group 'critic'"),
    ],
)
def test_terms_and_groups_must_name_each_other(group, message):
    step = made(Adversarial)
    step.model.critic_group = group
    with pytest.raises(ConfigurationError, match=message):
        step.loss(images(), 0)


def test_terms_per_example_that_couple_them_are_not_accumulated():
    step = made(gradient_accumulation_steps=2)
    step.loss(images(), 0)
    step.model.couples_examples = True
    with pytest.raises(ConfigurationError, match="the objective of VAE couples the whole batch"):
        step.loss(images(), 0)
