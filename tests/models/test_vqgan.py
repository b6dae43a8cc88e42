"""The VQGAN: one whole step against NumPy, and what evaluation and selection say of it."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.fixtures import frozen_nets, small_codes, tiny_runs
from tests.fixtures.replica_steps import stored
from vaeflow import optimizers, random, testing
from vaeflow.analysis.evaluator import Evaluator
from vaeflow.analysis.examples import Examples
from vaeflow.datasets import InMemorySplit
from vaeflow.errors import ConfigurationError
from vaeflow.layers import (
    Adversary,
    AttentionMapDecoder,
    AttentionMapEncoder,
    FrozenNet,
    PatchDiscriminator,
    PerceptualDistance,
    VectorQuantizer,
)
from vaeflow.models import VQGAN
from vaeflow.schedules import LinearSchedule
from vaeflow.training import making
from vaeflow.training.replica_step import ReplicaStep
from vaeflow.training.settings import TrainingSettings

SHAPE = (4, 3, 2)
BATCH = 8
PIXELS = np.random.default_rng(0).integers(0, 256, (BATCH, *SHAPE)).astype(np.uint8)
IMAGES = PIXELS / 255.0


def made(**adversary):
    """A model of linear maps, whose weights are far from where they begin."""
    keras.utils.set_random_seed(0)
    with making.precision("float64"):
        model = small_codes.pointwise_gan(**adversary)
        model.build((None, *SHAPE))
    for variable in model.trainable_variables:
        variable.assign(np.random.default_rng(1).normal(size=variable.shape))
    return model


def step_of(model, **settings):
    optimizer = keras.optimizers.SGD(0.125)
    for owner, variables in optimizers.optimizers_of(model.all_parameter_groups(optimizer)).values():
        optimizers.build_for_reduced_gradients(owner, variables)
    return ReplicaStep(
        model, optimizer, InMemorySplit(PIXELS), TrainingSettings(batch_size=BATCH, **settings)
    )


def hand_written(model, weight=None):
    """Gradients of the decoder and of the linear discriminator D(x) = x · v + c, from the whole batch.

    The adversarial loss has the adaptive weight, unless one is given.
    """
    latents = model.forward(tf.constant(IMAGES), training=True).latents.numpy()
    kernel, bias = (each.numpy() for each in model.decoder.dense.weights)
    v, c = (each.numpy() for each in model.adversary.discriminator.weights)
    reconstruction = latents @ kernel + bias
    places = SHAPE[0] * SHAPE[1]
    # −log p is |x − x̂| / 0.5 + log 1, and the generator's loss −D(x̂), the mean over the places.
    of_loss = np.sign(reconstruction - IMAGES) / 0.5 / BATCH
    of_deceit = -np.ones_like(reconstruction) * v[:, 0] / places / BATCH
    at_kernel = [np.einsum("bhwd,bhwc->dc", latents, each) for each in (of_loss, of_deceit)]
    at_bias = [each.sum((0, 1, 2)) for each in (of_loss, of_deceit)]
    ratio = np.linalg.norm(at_kernel[0]) / (np.linalg.norm(at_kernel[1]) + 1e-6)
    weight = 0.8 * ratio if weight is None else weight
    real, fake = IMAGES @ v + c, reconstruction @ v + c
    mistaken = [-0.5 * (real < 1) / places / BATCH, 0.5 * (fake > -1) / places / BATCH]
    at_v = sum(np.einsum("bhwc,bhwk->ck", *pair) for pair in zip((IMAGES, reconstruction), mistaken))
    return {
        "weight": weight,
        "kernel": at_kernel[0] + weight * at_kernel[1],
        "bias": at_bias[0] + weight * at_bias[1],
        "v": at_v,
        "c": sum(each.sum() for each in mistaken),
        "adversarial_loss": -fake.mean(),
        "discriminator_loss": 0.5 * (np.maximum(0, 1 - real) + np.maximum(0, 1 + fake)).mean(),
    }


def of_variable(step, result, variable):
    """The gradient of a variable."""
    for group, gradients in zip(step.groups.values(), result.gradients, strict=True):
        for each, gradient in zip(group.variables, gradients, strict=True):
            if each is variable:
                return gradient.numpy()
    raise AssertionError(variable.path)


@pytest.mark.slow
@pytest.mark.parametrize("parts", ["whole", "accumulated", "side by side"])
def test_a_step_has_the_gradients_and_the_adaptive_weight_of_the_whole_batch(parts):
    model = made()
    step = step_of(model, gradient_accumulation_steps=4 if parts == "accumulated" else 1)
    if parts == "side by side":
        step.use_cores(2, step.probe({"images": tf.constant(PIXELS)}))
        assert step.parallel_parts == 2
    expected = hand_written(model)
    result = step.compute(stored(tf.constant(PIXELS)), 5)
    metrics = {name: float(value) for name, value in result.metrics.items()}
    assert metrics["adversarial_weight"] == pytest.approx(expected["weight"], rel=1e-9)
    for name in ("adversarial_loss", "discriminator_loss"):
        assert metrics[name] == pytest.approx(expected[name], rel=1e-9)
    decoder, discriminator = model.decoder.dense, model.adversary.discriminator
    for name, variable in (
        ("kernel", decoder.kernel),
        ("bias", decoder.bias),
        ("v", discriminator.kernel),
        ("c", discriminator.bias),
    ):
        found = of_variable(step, result, variable)
        np.testing.assert_allclose(found, np.reshape(expected[name], found.shape), rtol=1e-9, atol=1e-12)


def test_a_fixed_weight_adds_the_loss_in_one_pass():
    model = made(adaptive=False, weight=0.3)
    step = step_of(model)
    result = step.compute(stored(tf.constant(PIXELS)), 5)
    assert step.joined == {}
    assert float(result.metrics["adversarial_loss_weight"]) == 0.3
    found = of_variable(step, result, model.decoder.dense.kernel)
    np.testing.assert_allclose(found, hand_written(model, 0.3)["kernel"], rtol=1e-9)


@pytest.mark.parametrize("adaptive", [True, False])
def test_before_the_first_step_the_discriminator_has_no_say(adaptive):
    model = made(adaptive=adaptive, first_step=6)
    step = step_of(model)
    result = step.compute(stored(tf.constant(PIXELS)), 5)
    assert float(result.metrics["adversarial_loss_weight"]) == 0.0
    assert not adaptive or float(result.metrics["adversarial_weight"]) == 0.0
    found = of_variable(step, result, model.decoder.dense.kernel)
    np.testing.assert_allclose(found, hand_written(model, 0.0)["kernel"], rtol=1e-9)
    before = model.adversary.discriminator.kernel.numpy()
    step.apply(tf.distribute.get_strategy(), result, tf.constant(5, tf.int64))
    np.testing.assert_array_equal(model.adversary.discriminator.kernel, before)
    step.apply(tf.distribute.get_strategy(), result, tf.constant(6, tf.int64))
    assert np.abs(model.adversary.discriminator.kernel - before).max() > 1e-6


@pytest.mark.slow
def test_a_run_that_is_stopped_goes_on_with_the_same_bits():
    """Both nets, both optimizers, the codebook and LeCam's averages; tests/faults kills processes."""
    with tiny_runs.untraced():
        testing.check_resume(
            lambda: small_codes.pointwise_gan(first_step=1, every=2, lecam_weight=0.1), SHAPE
        )


@pytest.mark.families
def test_blocks_that_are_computed_again_give_the_same_joined_gradients():
    """Each of the two backward passes computes them once more."""
    results = []
    for recompute in (False, True):
        keras.utils.set_random_seed(0)
        with making.precision("float64"):
            model = VQGAN(
                3,
                encoder=AttentionMapEncoder((4, 4), 1, recompute=recompute),
                decoder=AttentionMapDecoder((4, 4), 1, recompute=recompute),
                posterior=VectorQuantizer(num_codes=5),
                adversary=Adversary(PatchDiscriminator((3, 6))),
            )
            model.build((None, 4, 4, 2))
        pixels = np.random.default_rng(2).integers(0, 256, (BATCH, 4, 4, 2)).astype(np.uint8)
        step = ReplicaStep(model, None, InMemorySplit(pixels), TrainingSettings(batch_size=BATCH))
        results.append(step.compute(stored(tf.constant(pixels)), 5))
    plain, again = results
    assert float(plain.metrics["adversarial_weight"]) > 0.0
    for one, other in zip(*(tf.nest.flatten(each.gradients) for each in results), strict=True):
        np.testing.assert_allclose(other, one, rtol=1e-8, atol=1e-10)
    weights = [float(each.metrics["adversarial_weight"]) for each in (plain, again)]
    assert weights[0] == pytest.approx(weights[1], rel=1e-9)


def evaluated(model):
    strategy = tf.distribute.get_strategy()
    with tiny_runs.untraced():
        return Evaluator(Examples(model, InMemorySplit(PIXELS), strategy, batch_size=3)).evaluate()


@pytest.mark.slow
def test_an_evaluation_reports_the_losses_of_both_sides_and_chooses_without_them():
    model = made(lecam_weight=1.0)
    results, expected = evaluated(model), hand_written(model)
    for name in ("adversarial_loss", "discriminator_loss"):
        assert results[name] == pytest.approx(expected[name], rel=1e-9)
    assert "lecam" not in results
    assert results["kl"] == pytest.approx(12 * np.log(4), rel=1e-9)
    assert model.selection_score(results) == results["reconstruction_loss"] + results["kl"]


def with_perceptual(tmp_path, **settings):
    """A model that also compares features of a small frozen net."""
    frozen_nets.save_pointwise(tmp_path / "net.keras", SHAPE)
    with making.precision("float64"):
        net = FrozenNet(str(tmp_path / "net.keras"), layers=("first", "second"))
        return made(perceptual=PerceptualDistance(net, **settings))


@pytest.mark.slow
def test_the_perceptual_distance_counts_once_for_each_number_of_an_image(tmp_path):
    model = with_perceptual(tmp_path, weight=0.3)
    forward = model.forward(tf.constant(IMAGES), 0, training=True)
    term = model.objective(forward, 0)["perceptual_loss"]
    assert float(term.weight) == pytest.approx(0.3 * 4 * 3 * 2, rel=1e-12)
    expected = model.perceptual.distance(IMAGES, forward.reconstruction.mean)
    np.testing.assert_array_equal(term.value, expected)
    assert term.group is None


@pytest.mark.slow
def test_the_adaptive_weight_counts_the_perceptual_part_too(tmp_path):
    model = with_perceptual(tmp_path, weight=2.0)
    result = step_of(model).compute(stored(tf.constant(PIXELS)), 5)
    latents = model.forward(tf.constant(IMAGES), training=True).latents
    kernel, bias = model.decoder.dense.weights
    with tf.GradientTape() as tape:
        reconstruction = tf.matmul(latents, kernel) + bias
        distances = model.perceptual.distance(IMAGES, reconstruction)
        errors = tf.reduce_sum(tf.abs(IMAGES - reconstruction) / 0.5, axis=[1, 2, 3])
        loss = tf.reduce_mean(errors + 2.0 * 24 * distances)
    norm = np.linalg.norm(tape.gradient(loss, kernel.value))
    plain, only_l1 = hand_written(model), hand_written(model, 0.0)["kernel"]
    ratio = plain["weight"] * norm / np.linalg.norm(only_l1)
    assert float(result.metrics["adversarial_weight"]) == pytest.approx(ratio, rel=1e-8)
    assert abs(ratio / plain["weight"] - 1) > 0.01


def test_the_best_checkpoint_is_chosen_with_the_perceptual_part(tmp_path):
    model = with_perceptual(tmp_path, weight=LinearSchedule(0.0, 0.3, 10))
    results = evaluated(model)
    expected = results["reconstruction_loss"] + results["kl"] + 0.3 * 24 * results["perceptual_loss"]
    assert model.selection_score(results) == pytest.approx(expected, rel=1e-6)  # A schedule is float32.
    assert results["perceptual_loss"] > 0.01


@pytest.mark.families
def test_a_model_with_a_perceptual_net_comes_back_from_a_file(tmp_path):
    model = with_perceptual(tmp_path)
    model.save(tmp_path / "model.keras")
    (tmp_path / "net.keras").unlink()
    again = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(
        again.perceptual.distance(IMAGES, IMAGES[::-1]), model.perceptual.distance(IMAGES, IMAGES[::-1])
    )
    np.testing.assert_array_equal(again(IMAGES), model(IMAGES))


def test_the_forward_pass_is_judged_once():
    model = made(lecam_weight=1.0)
    calls = []
    discriminator = model.adversary.discriminator
    model.adversary.discriminator = lambda images, training: calls.append(1) or discriminator(images)
    forward = model.forward(tf.constant(IMAGES), 0, training=True)
    model.objective(forward, 0)
    model.updates(forward, 0)
    assert calls == [1]


def test_a_pass_in_use_asks_nobody():
    """`sample`, `encode` and `decode` work without the discriminator."""
    model = made()
    model.adversary.discriminator = None
    with random.keyed(0, "sample", 0):
        assert model.sample(3).shape == (3, *SHAPE)
    assert model.decode(model.encode(IMAGES).center).mean.shape == IMAGES.shape


def test_a_decoder_without_a_last_kernel_is_refused_when_it_is_built():
    class Silent(small_codes.PointwiseDecoder):
        """Does not say it."""

        last_kernel = small_codes.Decoder.last_kernel

    blocks = {"encoder": keras.layers.Identity(), "decoder": Silent()}
    model = VQGAN(2, adversary=Adversary(keras.layers.Dense(1)), **blocks)
    with pytest.raises(ConfigurationError, match=r"last_kernel.*or set `Adversary.adaptive = False`"):
        model.build((None, *SHAPE))


@pytest.mark.parametrize(("role", "kind"), [("adversary", "Adversary"), ("perceptual", "PerceptualDistance")])
def test_blocks_of_another_kind_are_refused(role, kind):
    with pytest.raises(ConfigurationError, match=f"`VQGAN.{role}` must be of the kind {kind}, got.*@{kind}"):
        VQGAN(**{role: keras.layers.Dense(1)})
