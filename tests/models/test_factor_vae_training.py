"""The FactorVAE in training: gradients of its two losses, its optimizer's state, and runs that resume."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.fixtures import numpy_vae, tiny_runs
from tests.fixtures.replica_steps import stored
from tests.fixtures.small_objectives import STEP, make_factor_vae
from vaeflow.callbacks import Checkpoints, Evaluation
from vaeflow.datasets import InMemorySplit
from vaeflow.models.factor_vae import FactorVAE
from vaeflow.runs.checkpoints import CheckpointStore
from vaeflow.schedules import LinearSchedule
from vaeflow.training.replica_step import ReplicaStep
from vaeflow.training.settings import TrainingSettings


def replica_step(model, batch_size=8, **settings):
    optimizer = keras.optimizers.SGD(0.1)
    split = InMemorySplit(uint8_images().numpy())
    return ReplicaStep(model, optimizer, split, TrainingSettings(batch_size=batch_size, **settings))


def uint8_images(count=8):
    return tf.constant(np.random.default_rng(0).integers(0, 256, (count, 4, 3, 2)), tf.uint8)


def gradients_of(step):
    result = step.compute(stored(uint8_images()), STEP)
    assert bool(result.finite)
    return [[gradient.numpy() for gradient in each] for each in result.gradients], result.metrics


def loss_moved_by(model, group, variable, delta):
    """What a group's loss gains as one number of a variable moves."""
    losses = []
    start = variable.numpy()
    for sign in (1, -1):
        moved = start.copy()
        moved.flat[0] += sign * delta
        variable.assign(moved)
        losses.append(float(replica_step(model).loss({"images": uint8_images()}, STEP)[0][group]))
    variable.assign(start)
    return (losses[0] - losses[1]) / (2 * delta)


@pytest.mark.long
@pytest.mark.parametrize("same_batch", [False, True])
def test_each_loss_has_its_own_gradient_for_its_own_variables_only(same_batch):
    """By differences: of its own loss, although the other one depends on the variable too."""
    model = make_factor_vae(same_batch=same_batch)
    step = replica_step(model)
    gradients, _ = gradients_of(step)
    assert list(step.groups) == [None, "discriminator"]
    variables = [group.variables for group in step.groups.values()]
    assert len(variables[0]) + len(variables[1]) == len(model.trainable_variables)
    pairs = ((None, "discriminator"), ("discriminator", None))
    for (group, other), of_group, of_gradient in zip(pairs, variables, gradients):
        for variable, gradient in zip(of_group, of_gradient, strict=True):
            expected = loss_moved_by(model, group, variable, 1e-6)
            assert gradient.flat[0] == pytest.approx(expected, rel=1e-4, abs=1e-7), variable.path
        crossed = max(abs(loss_moved_by(model, other, variable, 1e-6)) for variable in of_group)
        assert crossed > 1e-3  # There was something to keep apart.


@pytest.mark.slow
def test_the_discriminator_is_clipped_by_its_own_norm():
    free, metrics = gradients_of(replica_step(make_factor_vae()))
    norms = [np.sqrt(sum(np.sum(gradient**2) for gradient in of_group)) for of_group in free]
    assert float(metrics["gradient_norm"]) == pytest.approx(norms[0], rel=1e-12)
    assert float(metrics["discriminator_gradient_norm"]) == pytest.approx(norms[1], rel=1e-12)
    model = make_factor_vae(discriminator_gradient_clip_norm=0.5 * norms[1])
    clipped, metrics = gradients_of(replica_step(model, gradient_clip_norm=0.25 * norms[0]))
    assert float(metrics["discriminator_gradient_norm"]) == pytest.approx(norms[1], rel=1e-12)
    for factor, of_group, expected in zip((0.25, 0.5), clipped, free):
        for one, other in zip(of_group, expected):
            np.testing.assert_allclose(one, factor * other, rtol=1e-10)


@pytest.mark.long
@pytest.mark.parametrize("batch_size", [1, 2, 5])
def test_fit_ends_in_a_batch_of_any_size(batch_size):
    model = FactorVAE(num_latents=2, discriminator_units=(4,), **numpy_vae.blocks())
    model.compile(optimizer="adam", jit_compile=False)
    images = numpy_vae.images(8 + batch_size).astype(np.float32)
    history = model.fit(images, batch_size=8, shuffle=False, verbose=0).history
    assert all(np.isfinite(value[0]) for value in history.values())


@pytest.mark.long
def test_the_state_of_its_optimizer_comes_back(tmp_path):
    optimizer = keras.optimizers.Adam(0.02, beta_1=0.3)
    model = FactorVAE(
        num_latents=2,
        discriminator_units=(4,),
        discriminator_optimizer=optimizer,
        gamma=3.0,
        **numpy_vae.blocks(),
    )
    model.compile(optimizer="adam", jit_compile=False)
    model.fit(numpy_vae.images(8), epochs=2, verbose=0)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras").discriminator_optimizer
    assert again.iterations == 2
    assert again.beta_1 == 0.3
    for one, other in zip(again.variables, optimizer.variables, strict=True):
        np.testing.assert_array_equal(one, other)


def tiny():
    optimizer = keras.optimizers.Adam(LinearSchedule(0.002, 0.001, 10))
    return FactorVAE(
        num_latents=2,
        discriminator_units=(4,),
        discriminator_optimizer=optimizer,
        **numpy_vae.blocks(),
    )


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.parametrize("precision", ["float32", pytest.param("mixed_bfloat16", marks=pytest.mark.families)])
def test_a_run_resumes_with_both_groups_and_logs_both_learning_rates(tmp_path, precision):
    settings = {
        "model": tiny,
        "precision": precision,
        "ema_decay": 0.9,
        "callbacks": [Evaluation(every_steps=10), Checkpoints(every_steps=10)],
    }
    whole = tiny_runs.train(tmp_path / "whole", **settings)
    tiny_runs.train(tmp_path / "cut", num_steps=10, **settings)
    resumed = tiny_runs.train(tmp_path / "cut", **settings)
    assert resumed["weights_sha256"] == whole["weights_sha256"]
    stores = [CheckpointStore(tmp_path / name / "checkpoints") for name in ("whole", "cut")]
    averages = [store.read_weights(20)["averages"] for store in stores]
    assert len(averages[0]) == 4 + 6 + 4  # The discriminator's too.
    for one, other in zip(*averages, strict=True):
        np.testing.assert_array_equal(one, other)
    lines = {line["step"]: line for line in tiny_runs.metrics_lines(tmp_path / "cut")}
    assert lines[20]["train/learning_rate"] == pytest.approx(0.001)
    rates = [lines[step]["train/discriminator_learning_rate"] for step in (5, 10, 15)]
    assert rates == pytest.approx([0.0015, 0.001, 0.001])
    names = {"discriminator_loss", "total_correlation", "total_correlation_weight"}
    names |= {"gradient_norm", "discriminator_gradient_norm"}
    assert {f"train/{name}" for name in names} <= set(lines[20])
    assert np.isfinite(resumed["evaluation/negative_elbo"])


def test_its_optimizer_is_no_part_of_the_weights():
    model = make_factor_vae()
    assert len(model.variables) == len(model.trainable_variables) == 4 + 6 + 6
