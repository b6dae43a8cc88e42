"""The deep hierarchical VAE: against its twin in NumPy, bits of groups, and partial reconstructions."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.fixtures import numpy_flows, numpy_hierarchy, numpy_ladder, numpy_vae
from tests.fixtures.replica_steps import stored
from vaeflow import random
from vaeflow.datasets import InMemorySplit
from vaeflow.devices import cores
from vaeflow.errors import ConfigurationError
from vaeflow.layers import BottleneckEncoder, ConvMapDecoder, ConvMapEncoder, TopDownDecoder
from vaeflow.models import HierarchicalVAE
from vaeflow.schedules import LinearSchedule
from vaeflow.training.replica_step import ReplicaStep
from vaeflow.training.settings import TrainingSettings

SHAPE = numpy_hierarchy.SHAPE
PIXELS = np.random.default_rng(0).integers(0, 256, (12, *SHAPE)).astype(np.uint8)
IMAGES = PIXELS[:4] / 255
NAMES = ["1x2_1", "2x3_1", "2x3_2", "4x6_1"]


def made(shape=SHAPE, perturbed=0.2, **arguments):
    keras.utils.set_random_seed(0)
    model = numpy_hierarchy.make(**arguments)
    model.build((None, *shape))
    numpy_flows.perturb(model, perturbed)
    return model


def passed(model, images=IMAGES, **arguments):
    with random.keyed(0, "train", 2):
        return model.forward(tf.constant(images), **arguments)


@pytest.fixture(scope="module")
def model():
    return made()


@pytest.fixture(scope="module")
def forward(model):
    return passed(model)


@pytest.fixture(scope="module")
def twin(model):
    """What the twin draws: (latents, q, p) of each group; and −log p(x|z)."""
    return numpy_hierarchy.forward(model, IMAGES, numpy_hierarchy.noises(model, len(IMAGES)))


def kl_of(groups):
    """The KL of each group, `[b, L]`."""
    return np.stack([numpy_ladder.kl(q, p).sum(axis=1) for _, q, p in groups], axis=1)


@pytest.mark.slow
def test_each_group_is_drawn_from_the_twins_posterior(forward, twin):
    assert list(forward.draws) == NAMES
    for name, (latents, (mean, log_variance), _) in zip(NAMES, twin[0], strict=True):
        draw = forward.draws[name]
        np.testing.assert_allclose(draw.posterior.mean, mean, rtol=1e-9, atol=1e-11)
        np.testing.assert_allclose(draw.posterior.log_variance, log_variance, rtol=1e-9, atol=1e-11)
        np.testing.assert_allclose(draw.value, latents, rtol=1e-9, atol=1e-11)


def test_the_kl_of_each_latent_is_that_of_the_twin(forward, twin):
    for name, (_, q, p) in zip(NAMES, twin[0], strict=True):
        np.testing.assert_allclose(forward.kl_of(name), numpy_ladder.kl(q, p), rtol=1e-9, atol=1e-11)


def test_the_objective_is_that_of_the_twin(model, forward, twin):
    terms = model.objective(forward, 2)
    np.testing.assert_allclose(terms["reconstruction_loss"].value, twin[1], rtol=1e-10)
    np.testing.assert_allclose(terms["kl"].value, kl_of(twin[0]).sum(axis=1), rtol=1e-10)


def test_the_weight_of_a_sample_is_the_sum_of_its_log_densities(forward, twin):
    groups, loss = twin
    expected = -loss
    for latents, q, p in groups:
        expected += numpy_ladder.log_density(latents, p) - numpy_ladder.log_density(latents, q)
    np.testing.assert_allclose(forward.log_weight[:, 0], expected, rtol=1e-10)


@pytest.mark.families
def test_new_images_come_from_the_twins_prior_with_a_temperature_for_each_group(model):
    temperatures = {"2x3_1": 0.5, "4x6_1": 0.7}
    noise = numpy_hierarchy.noises(model, 5)

    def decide(number, stage, state, p):
        return numpy_ladder.draw(p, temperatures.get(NAMES[number], 1.0) * noise[number])

    expected = numpy_vae.sigmoid(numpy_hierarchy.downwards(model, decide))
    with random.keyed(0, "train", 2):
        found = model.sample(5, temperature=temperatures)
    np.testing.assert_allclose(found, expected, rtol=1e-10)


def test_a_temperature_of_no_group_is_refused(model):
    with pytest.raises(ConfigurationError, match="has no latents 3x3_1; its groups are 1x2_1, 2x3_1, 2x3_2,"):
        model.sample(2, temperature={"3x3_1": 0.5})
    with pytest.raises(ValueError, match=r"`temperature\['1x2_1'\]` must be a number above 0, got 0"):
        model.sample(2, temperature={"1x2_1": 0})


@pytest.mark.parametrize(
    "num_groups",
    [pytest.param(1, marks=pytest.mark.families), 3, pytest.param(4, marks=pytest.mark.families)],
)
def test_a_reconstruction_from_the_first_groups_takes_the_centers_of_p_for_the_others(model, num_groups):
    maps = numpy_hierarchy.upwards(model, IMAGES)

    def decide(number, stage, state, p):
        if number >= num_groups:
            return p[0]
        both = np.concatenate([np.broadcast_to(state, maps[stage].shape), maps[stage]], axis=-1)
        return np.split(numpy_hierarchy.block(model.decoder.groups[number].posterior, both), 2, axis=-1)[0]

    expected = numpy_vae.sigmoid(numpy_hierarchy.downwards(model, decide))
    np.testing.assert_allclose(model.reconstruct(IMAGES, num_groups), expected, rtol=1e-10)


@pytest.mark.families
def test_at_the_start_the_prior_is_standard_normal_and_residual_blocks_are_scaled():
    """By 1 / √N, for the four blocks of the encoder and the four groups of the decoder."""
    model = numpy_hierarchy.make()
    model.build((None, *SHAPE))
    for group in model.decoder.groups:
        assert not np.any(group.prior.convolutions[-1].kernel)
    for layer, of in (
        (model.encoder.stages[0].blocks[0].convolutions[-1], model.encoder.filters[0]),
        (model.decoder.groups[3].residual.convolutions[-1], 4),
    ):
        bound = np.sqrt(6 / (2 + of)) / np.sqrt(4)
        assert 0.5 * bound < np.abs(layer.kernel).max() < bound


def test_free_bits_hold_for_each_group(model, forward, twin, monkeypatch):
    means = kl_of(twin[0]).mean(axis=0)
    least = float(np.sort(means)[1:3].mean())
    monkeypatch.setattr(model, "group_free_bits", least)
    deficit = model.objective(forward, 2)["group_free_bits"].value
    assert 0 < np.sum(means < least) < len(means)
    np.testing.assert_allclose(deficit, np.maximum(least - means, 0).sum(), rtol=1e-9)


@pytest.fixture
def balanced(model, monkeypatch):
    monkeypatch.setattr(model, "kl_balancing", True)
    monkeypatch.setattr(model, "kl_weight", LinearSchedule(0.0, 1.0, 10))
    return model


def balance(model, kl):
    """γ_l of the mean KL of each group."""
    share = (kl + 0.01) / [np.prod(shape) for shape in numpy_hierarchy.shapes(model)]
    return len(share) * share / share.sum()


def test_the_balanced_kl_weights_each_group_by_its_kl_per_latent(balanced, forward, twin):
    terms, kl = balanced.objective(forward, 4), kl_of(twin[0]).mean(axis=0)
    together = tf.reduce_mean(terms["kl"].value) + terms["kl_balancing"].value
    np.testing.assert_allclose(together, np.sum(balance(balanced, kl) * kl), rtol=1e-9)
    assert float(terms["kl_balancing"].weight) == pytest.approx(0.4)
    assert float(balanced.objective(forward, 10)["kl_balancing"].weight) == 0


@pytest.mark.families
def test_the_balance_has_no_gradient(balanced, twin):
    """So that the gradient of each group's KL is weighted by γ_l; here that of the last group's prior."""
    weights = balanced.decoder.groups[-1].prior.convolutions[-1].bias
    with tf.GradientTape(persistent=True) as tape:
        forward = passed(balanced)
        terms = balanced.objective(forward, 4)
        together = tf.reduce_mean(terms["kl"].value) + terms["kl_balancing"].value
        last = tf.reduce_mean(tf.reduce_sum(forward.kl_of(NAMES[-1]), axis=1))
    expected = balance(balanced, kl_of(twin[0]).mean(axis=0))[-1] * tape.gradient(last, weights.value)
    np.testing.assert_allclose(tape.gradient(together, weights.value), expected, rtol=1e-8, atol=1e-12)


@pytest.mark.families
def test_a_step_in_parts_is_that_of_the_whole_batch(monkeypatch):
    """Of an objective that couples the batch, whose blocks are cut one by one."""
    model = made(group_free_bits=1.0)
    step = ReplicaStep(
        model, keras.optimizers.SGD(0.1), InMemorySplit(PIXELS), TrainingSettings(batch_size=12)
    )
    whole = step.compute(stored(tf.constant(PIXELS)), 3)
    step.use_cores(3, step.probe({"images": tf.constant(PIXELS)}))
    monkeypatch.setattr(cores, "operations_at_a_time", lambda: 2)
    cut = step.compute(stored(tf.constant(PIXELS)), 3)
    for one, other in zip(*map(tf.nest.flatten, (cut.gradients, whole.gradients)), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-12)


@pytest.mark.families
def test_a_saved_model_comes_back(model, forward, tmp_path):
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(passed(again).log_weight, forward.log_weight)


@pytest.mark.families
@pytest.mark.parametrize("shape", [(5, 3, 1), (9, 7, 2)])
def test_images_of_any_size_come_back_in_their_size(shape):
    images = np.random.default_rng(0).random((2, *shape))
    assert numpy_hierarchy.make()(images).shape == images.shape


@pytest.mark.families
def test_half_precision_keeps_the_parameters_of_p_and_q_in_the_dtype_of_the_variables():
    policy = "mixed_bfloat16"
    model = HierarchicalVAE(2, dtype=policy, **numpy_hierarchy.blocks(policy))
    draw = model.forward(IMAGES.astype(np.float32)).draws[NAMES[1]]
    assert {draw.posterior.mean.dtype, draw.prior.log_variance.dtype} == {tf.float32}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"encoder": ConvMapEncoder((3,))}, r"ConvMapEncoder.call` must return a list of maps"),
        (
            {"decoder": TopDownDecoder((1, 2))},
            r"num_groups` has 2 numbers, and the encoder gives 3 maps \(1x2, ",
        ),
        (
            {"encoder": BottleneckEncoder(4, 1, (4, 4)), "decoder": TopDownDecoder((1, 1, 1))},
            "maps of a TopDownDecoder must grow",
        ),
    ],
)
def test_blocks_that_do_not_fit_are_refused(arguments, message):
    with pytest.raises(ConfigurationError, match=message):
        numpy_hierarchy.make(**arguments).build((None, 2, 4, 1) if "grow" in message else (None, *SHAPE))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: HierarchicalVAE(kl_balancing=True),
            "`HierarchicalVAE.kl_weight` is 1.0; set it to @LinearSch",
        ),
        (
            lambda: HierarchicalVAE(decoder=ConvMapDecoder()),
            "must be a TopDownDecoder, .* got ConvMapDecoder",
        ),
        (lambda: TopDownDecoder((0, 0)), "`TopDownDecoder.num_groups` must have a number above 0"),
        (lambda: TopDownDecoder((1, -1)), "`TopDownDecoder.num_groups` must be an integer of at least 0"),
        (lambda: BottleneckEncoder(num_blocks=(1, 2)), r"list of 4 integers \(one for each map\)"),
    ],
)
def test_a_faulty_setting_is_refused(make, message):
    with pytest.raises((ConfigurationError, ValueError), match=message):
        make()
