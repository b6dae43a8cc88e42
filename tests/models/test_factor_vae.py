"""The FactorVAE against its NumPy twin, and what each of its two losses may move."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.fixtures import numpy_objectives, numpy_vae, tiny_runs
from vaeflow import random
from vaeflow.callbacks import Checkpoints, Evaluation
from vaeflow.errors import ConfigurationError
from vaeflow.models import VAE
from vaeflow.models.factor_vae import FactorVAE
from vaeflow.optimizers import Adam
from vaeflow.runs.checkpoints import CheckpointStore
from vaeflow.schedules import LinearSchedule
from vaeflow.training.replica_step import ReplicaStep

STEP = 7
NUM_LATENTS = 3
SHAPE = (4, 3, 2)


def made(kind=FactorVAE, **arguments):
    keras.utils.set_random_seed(0)
    if kind is FactorVAE:
        arguments = {"discriminator_units": (7, 5)} | arguments
    model = kind(num_latents=NUM_LATENTS, dtype="float64", **numpy_vae.blocks(dtype="float64"), **arguments)
    model.build((None, *SHAPE))
    generator = np.random.default_rng(1)
    for variable in model.trainable_variables:  # Biases of 0 would hide their places.
        variable.assign_add(0.3 * generator.normal(size=variable.shape))
    return model


def terms_of(model, images, step=STEP, training=True):
    with random.keyed(0, "train", step):
        return model.objective(model.forward(tf.constant(images), training), step)


def layers_of(model):
    weights = [variable.numpy() for variable in model.discriminator.weights]
    return list(zip(weights[::2], weights[1::2]))


def draws(batch_size, num_permuted):
    """The noise of the latents and the permutations `[D, n]`, in the order in which they are drawn."""
    with random.keyed(0, "train", STEP):
        epsilon = random.normal((batch_size, NUM_LATENTS), "float64").numpy()
        uniform = random.uniform((num_permuted, NUM_LATENTS), "float64", shared=True).numpy()
    return epsilon, np.argsort(uniform, axis=0).T


def twin(model, images, same_batch, num_permuted, gamma=35.0, free_bits=0.0):
    epsilon, permutations = draws(len(images), num_permuted)
    mean, log_variance, latents, outputs = numpy_vae.forward(model, images, epsilon)
    return numpy_objectives.factor_vae(
        numpy_vae.bernoulli_loss(outputs, images),
        mean,
        log_variance,
        latents,
        layers_of(model),
        permutations,
        gamma,
        same_batch,
        free_bits,
    )


def loss_of(terms, group=None):
    chosen = [term for term in terms.values() if term.group == group]
    return sum(float(term.weight) * np.mean(term.value) for term in chosen)


@pytest.mark.parametrize("batch_size", [2, 6, 7])
@pytest.mark.parametrize("same_batch", [False, True])
@pytest.mark.parametrize("free_bits", [0.0, 0.4])
def test_objective(batch_size, same_batch, free_bits):
    model = made(gamma=20, same_batch=same_batch, free_bits=free_bits)
    images = numpy_vae.images(batch_size)
    terms = terms_of(model, images)
    num_permuted = batch_size if same_batch else batch_size // 2
    expected, loss = twin(model, images, same_batch, num_permuted, 20.0, free_bits)
    for name, value in expected.items():
        assert terms[name].value.shape == (batch_size,)
        # TensorFlow's leaky ReLU has a slope of 0.2 in float32.
        assert np.mean(terms[name].value) == pytest.approx(np.mean(value), rel=1e-7), name
    assert loss_of(terms) == pytest.approx(loss, rel=1e-7)
    assert loss_of(terms, "discriminator") == pytest.approx(expected["discriminator_loss"], rel=1e-7)
    if free_bits:
        assert terms["free_bits"].value > 0.01


def test_a_term_is_zero_where_its_position_has_no_part_in_it():
    terms = terms_of(made(), numpy_vae.images(7))
    for name in ("reconstruction_loss", "kl", "total_correlation"):
        values = terms[name].value.numpy()
        assert np.all(values[::2] != 0) and np.all(values[1::2] == 0), name
    assert np.all(terms["discriminator_loss"].value > 0)


def test_evaluation_takes_all_images_for_both():
    model, images = made(), numpy_vae.images(5)
    terms = terms_of(model, images, training=False)
    expected, loss = twin(model, images, True, 5)
    assert loss_of(terms) == pytest.approx(loss, rel=1e-7)
    assert loss_of(terms, "discriminator") == pytest.approx(expected["discriminator_loss"], rel=1e-7)


@pytest.mark.parametrize("same_batch", [False, True])
def test_a_discriminator_at_one_half_gives_the_vae(same_batch):
    model, images = made(same_batch=same_batch), numpy_vae.images(6)
    for variable in model.discriminator.logit.weights:
        variable.assign(np.zeros(variable.shape))
    terms = terms_of(model, images)
    vae = made(VAE)
    assert len(vae.weights) < len(model.weights)
    for one, other in zip(vae.weights, model.weights):  # The discriminator's come last.
        one.assign(other)
    expected = {name: term.value.numpy() for name, term in terms_of(vae, images).items()}
    if not same_batch:
        expected = {name: value[::2] for name, value in expected.items()}
    assert loss_of(terms) == pytest.approx(sum(value.mean() for value in expected.values()), rel=1e-12)
    assert loss_of(terms, "discriminator") == pytest.approx(np.log(2), rel=1e-12)


def test_logits_of_any_size_keep_losses_finite():
    model, images = made(), numpy_vae.images(6)
    for scale in (1e4, -1e8):
        model.discriminator.logit.kernel.assign(scale * np.ones((5, 1)))
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(terms_of(model, images)["discriminator_loss"].value)
        assert np.isfinite(loss)
        for gradient in tape.gradient(loss, model.discriminator.trainable_variables):
            assert np.all(np.isfinite(gradient))


def test_each_dimension_is_permuted_by_itself():
    """Over the odd positions, all of them, and anew in each step."""
    model, images = made(), numpy_vae.images(40)
    seen = []
    for step in (0, 0, 1):
        with random.keyed(0, "train", step):
            forward = model.forward(tf.constant(images), training=True)
            seen.append(model._permuted_latents(forward).numpy()[1::2])
            latents = forward.latents.numpy()[1::2]
        np.testing.assert_array_equal(np.sort(seen[-1], axis=0), np.sort(latents, axis=0))
    sources = [
        [np.flatnonzero(latents[:, d] == value)[0] for value in seen[2][:, d]] for d in range(NUM_LATENTS)
    ]
    assert len({tuple(source) for source in sources}) == NUM_LATENTS
    np.testing.assert_array_equal(seen[0], seen[1])
    assert np.any(np.argsort(seen[0], axis=0) != np.argsort(seen[2], axis=0))


def replica_step(model, batch_size=8, **settings):
    optimizer = keras.optimizers.SGD(0.1)
    return ReplicaStep(model, optimizer, "none", batch_size, seed=0, **settings)


def uint8_images(count=8):
    return tf.constant(np.random.default_rng(0).integers(0, 256, (count, *SHAPE)), tf.uint8)


def gradients_of(step):
    gradients, metrics, finite = step.gradient(uint8_images(), STEP)
    assert bool(finite)
    return [[gradient.numpy() for gradient in of_group] for of_group in gradients], metrics


def loss_moved_by(model, group, variable, delta):
    """What a group's loss gains as one number of a variable moves."""
    losses = []
    start = variable.numpy()
    for sign in (1, -1):
        moved = start.copy()
        moved.flat[0] += sign * delta
        variable.assign(moved)
        losses.append(float(replica_step(model).loss(uint8_images(), STEP)[0][group]))
    variable.assign(start)
    return (losses[0] - losses[1]) / (2 * delta)


@pytest.mark.parametrize("same_batch", [False, True])
def test_each_loss_has_its_own_gradient_for_its_own_variables_only(same_batch):
    """By differences: of its own loss, although the other one depends on the variable too."""
    model = made(same_batch=same_batch)
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


def test_the_discriminator_is_clipped_by_its_own_norm():
    free, metrics = gradients_of(replica_step(made()))
    norms = [np.sqrt(sum(np.sum(gradient**2) for gradient in of_group)) for of_group in free]
    assert float(metrics["gradient_norm"]) == pytest.approx(norms[0], rel=1e-12)
    assert float(metrics["discriminator_gradient_norm"]) == pytest.approx(norms[1], rel=1e-12)
    model = made(discriminator_gradient_clip_norm=0.5 * norms[1])
    clipped, metrics = gradients_of(replica_step(model, gradient_clip_norm=0.25 * norms[0]))
    assert float(metrics["discriminator_gradient_norm"]) == pytest.approx(norms[1], rel=1e-12)
    for factor, of_group, expected in zip((0.25, 0.5), clipped, free):
        for one, other in zip(of_group, expected):
            np.testing.assert_allclose(one, factor * other, rtol=1e-10)


def test_the_weight_of_the_total_correlation_may_be_a_schedule():
    model = made(gamma=LinearSchedule(0.0, 10.0, 20))
    terms = terms_of(model, numpy_vae.images(4), step=5)
    assert float(terms["total_correlation"].weight) == 2.5
    assert terms["discriminator_loss"].weight == 1.0


def test_the_discriminator_of_the_paper():
    model = FactorVAE(num_latents=10)
    model.build((None, 8, 8, 1))
    kernels = [variable.shape for variable in model.discriminator.weights if len(variable.shape) == 2]
    assert kernels == [(10, 1000), *[(1000, 1000)] * 5, (1000, 1)]
    optimizer = model.parameter_groups()["discriminator"].optimizer
    assert type(optimizer) is Adam
    assert float(optimizer.learning_rate) == pytest.approx(1e-4)
    assert (optimizer.beta_1, optimizer.beta_2) == (0.5, 0.9)


@pytest.mark.parametrize("batch_size", [1, 2, 5])
def test_fit_ends_in_a_batch_of_any_size(batch_size):
    model = FactorVAE(num_latents=2, discriminator_units=(4,), **numpy_vae.blocks())
    model.compile(optimizer="adam", jit_compile=False)
    images = numpy_vae.images(8 + batch_size).astype(np.float32)
    history = model.fit(images, batch_size=8, shuffle=False, verbose=0).history
    assert all(np.isfinite(value[0]) for value in history.values())


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


@pytest.mark.parametrize("precision", ["float32", "mixed_bfloat16"])
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
    model = made()
    assert len(model.variables) == len(model.trainable_variables) == 4 + 6 + 6


def test_a_batch_without_a_second_half_is_refused():
    with pytest.raises(ConfigurationError, match=r"FactorVAE needs at least 2 images in a batch.*same_batch"):
        terms_of(made(), numpy_vae.images(1))
    assert np.isfinite(loss_of(terms_of(made(same_batch=True), numpy_vae.images(1))))


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("gamma", -1.0),
        ("discriminator_units", 5),
        ("discriminator_optimizer", keras.optimizers.Adam),
        ("discriminator_gradient_clip_norm", 0),
        ("same_batch", "yes"),
    ],
)
def test_a_faulty_setting_is_refused(setting, value):
    with pytest.raises(ValueError, match=f"`FactorVAE.{setting}` must be"):
        FactorVAE(num_latents=2, **{setting: value})
