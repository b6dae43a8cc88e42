"""The ladder VAE: against its twin in NumPy, an integral, and the contract of two groups of latents."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.fixtures import numpy_flows, numpy_ladder, numpy_vae
from tests.fixtures.noted_calls import note_batch_sizes
from tests.fixtures.replica_steps import stored
from vaeflow import random
from vaeflow.analysis.examples import Examples
from vaeflow.analysis.importance_sampling import ImportanceSampler
from vaeflow.datasets import InMemorySplit
from vaeflow.devices import cores
from vaeflow.errors import ConfigurationError
from vaeflow.layers import ConvMapDecoder, ConvMapEncoder, DenseEncoder, GaussianLikelihood, VampPrior
from vaeflow.models import LadderVAE
from vaeflow.models.passes import Generated, Inferred
from vaeflow.training.replica_step import ReplicaStep
from vaeflow.training.settings import TrainingSettings

SHAPE = numpy_ladder.SHAPE
PIXELS = np.random.default_rng(0).integers(0, 256, (12, *SHAPE)).astype(np.uint8)
IMAGES = PIXELS[:5] / 255


def made(shape=SHAPE, perturbed=0.2, **arguments):
    model = numpy_ladder.make(**arguments)
    model.build((None, *shape))
    numpy_flows.perturb(model, perturbed)
    return model


def passed(model, images=IMAGES, **arguments):
    with random.keyed(0, "train", 2):
        return model.forward(tf.constant(images), **arguments)


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(0)
    return made()


@pytest.fixture(scope="module")
def twin(model):
    """What the twin draws: group -> (latents, q, p); and −log p(x|z)."""
    return numpy_ladder.forward(model, IMAGES, numpy_ladder.noises(model, len(IMAGES)))


@pytest.mark.parametrize("group", ["top", "bottom"])
def test_a_group_is_drawn_from_the_twins_posterior(model, twin, group):
    draw, (latents, (mean, log_variance), _) = passed(model).draws[group], twin[0][group]
    np.testing.assert_allclose(draw.posterior.mean, mean, rtol=1e-10)
    np.testing.assert_allclose(draw.posterior.log_variance, log_variance, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(draw.value, latents, rtol=1e-10)


@pytest.mark.parametrize("group", ["top", "bottom"])
def test_the_kl_of_each_unit_of_a_group_is_that_of_the_twin(model, twin, group):
    _, q, p = twin[0][group]
    np.testing.assert_allclose(passed(model).kl_of(group), numpy_ladder.kl(q, p), rtol=1e-10)


def test_the_objective_is_that_of_the_twin(model, twin):
    groups, loss = twin
    terms = model.objective(passed(model), 2)
    np.testing.assert_allclose(terms["reconstruction_loss"].value, loss, rtol=1e-10)
    kl = sum(numpy_ladder.kl(q, p).sum(axis=1) for _, q, p in groups.values())
    np.testing.assert_allclose(terms["kl"].value, kl, rtol=1e-10)


def test_free_bits_hold_for_each_unit_of_each_group():
    model = made(free_bits=0.3)
    groups, _ = numpy_ladder.forward(model, IMAGES, numpy_ladder.noises(model, len(IMAGES)))
    means = np.concatenate([numpy_ladder.kl(q, p).mean(axis=0) for _, q, p in groups.values()])
    deficit = model.objective(passed(model), 2)["free_bits"].value
    assert 0 < np.sum(means < 0.3) < len(means)
    np.testing.assert_allclose(deficit, np.maximum(0.3 - means, 0).sum(), rtol=1e-10)


def test_the_weight_of_a_sample_is_the_sum_of_its_log_densities(model, twin):
    groups, loss = twin
    expected = -loss
    for latents, q, p in groups.values():
        expected += numpy_ladder.log_density(latents, p) - numpy_ladder.log_density(latents, q)
    np.testing.assert_allclose(passed(model).log_weight[:, 0], expected, rtol=1e-10)


def test_given_what_was_inferred_the_likelihood_is_the_same(model):
    images = tf.constant(IMAGES)
    with random.keyed(0, "train", 2):
        inferred = Inferred()
        expected = model.likelihood_of(
            model.draw_latents(inferred, model.infer({"images": images})), inferred
        )
    given = Generated(given={name: draw.value for name, draw in inferred.draws.items()})
    found = model.likelihood_of(model.draw_latents(given, None), given)
    np.testing.assert_array_equal(found.mean, expected.mean)


@pytest.mark.parametrize("temperature", [1.0, 0.5])
def test_new_images_come_from_the_twins_prior(model, temperature):
    noise = [temperature * each for each in numpy_ladder.noises(model, 7)]
    state, p = numpy_ladder.downwards(model, noise[0])
    expected = numpy_vae.sigmoid(numpy_ladder.decoded(model, state, numpy_ladder.draw(p, noise[1])))
    with random.keyed(0, "train", 2):
        found = model.sample(7, temperature=temperature)
    np.testing.assert_allclose(found, expected, rtol=1e-10)


def integrated(model, image):
    """−log ∫∫ p(x|z) p(z) for one latent in each group, on a grid of both in their deviations from p."""
    axis, width = np.linspace(-7, 7, 141, retstep=True)
    grid = np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2)
    state, p = numpy_ladder.downwards(model, grid[:, :1])
    bottom = numpy_ladder.draw(p, grid[:, 1:].reshape(-1, 1, 1, 1))
    loss = numpy_vae.bernoulli_loss(numpy_ladder.decoded(model, state, bottom), image[None])
    return -np.logaddexp.reduce(numpy_flows.standard_normal(grid) - loss) - 2 * np.log(width)


def tiny():
    """With posteriors that are wider than p(z|x), so that no weight is large."""
    model = made((2, 2, 2), 0.3, num_latents=1, bottom_channels=1)
    model.posterior.log_variance.bias.assign([1.0])
    model.bottom_evidence.blocks[1].bias.assign([0.5, 2.0])
    return model


@pytest.mark.slow
def test_importance_weights_give_the_likelihood_that_an_integral_gives():
    model, images = tiny(), IMAGES[:2, :2, :2]
    log_weight = passed(model, images, num_samples=20_000).log_weight.numpy()
    exact = np.array([integrated(model, image) for image in images])
    weights = np.exp(log_weight + exact[:, None])
    error = weights.std(axis=1) / np.sqrt(log_weight.shape[1])
    assert np.all(error < 0.01)
    assert np.all(-log_weight.mean(axis=1) - exact > 0.02)
    np.testing.assert_array_less(np.abs(weights.mean(axis=1) - 1), 4 * error)


@pytest.mark.families
def test_the_importance_sampler_gives_it_too():
    strategy = tf.distribute.MirroredStrategy(["CPU:0"])
    with strategy.scope():
        model = tiny()
    split = InMemorySplit(PIXELS[:4, :2, :2])
    exact = np.mean([integrated(model, image) for image in PIXELS[:4, :2, :2] / 255])
    (estimate,) = ImportanceSampler(Examples(model, split, strategy, 1), (2000,)).estimate().values()
    assert estimate == pytest.approx(exact, abs=0.02)


@pytest.mark.slow
def test_a_step_in_parts_is_that_of_the_whole_batch(monkeypatch):
    model = made(free_bits=0.3)
    settings = TrainingSettings(batch_size=12)
    step = ReplicaStep(model, keras.optimizers.SGD(0.1), InMemorySplit(PIXELS), settings)
    whole = step.compute(stored(tf.constant(PIXELS)), 3)
    step.use_cores(3, step.probe({"images": tf.constant(PIXELS)}))
    monkeypatch.setattr(cores, "operations_at_a_time", lambda: 2)
    sizes = note_batch_sizes(model.encoder)
    cut = step.compute(stored(tf.constant(PIXELS)), 3)
    assert sizes == [4, 4, 4]
    for one, other in zip(*map(tf.nest.flatten, (cut.gradients, whole.gradients)), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-12)


@pytest.mark.slow
def test_a_saved_model_comes_back(model, tmp_path):
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    one, other = (passed(each).log_weight for each in (again, model))
    np.testing.assert_array_equal(one, other)


def test_images_of_any_size_come_back_in_their_size():
    images = np.random.default_rng(0).random((2, 5, 3, 1))
    assert numpy_ladder.make()(images).shape == images.shape


def test_the_decoder_gets_the_channels_that_a_likelihood_needs():
    assert made(likelihood=GaussianLikelihood(learned="per_pixel")).decoder.target_shape == (4, 6, 4)


def test_a_vamp_prior_is_the_mixture_of_the_posteriors_of_the_top():
    model = made(prior=VampPrior(4, initial_mean=0.5, initial_deviation=0.2, dtype="float64"))
    pseudo_inputs = np.clip(model.prior.pseudo_inputs.numpy(), 0, 1)
    (means, log_variances), _ = numpy_ladder.upwards(model, pseudo_inputs)
    draw = passed(model).draws["top"]
    each = [
        numpy_ladder.log_density(draw.value.numpy(), parameters)
        for parameters in zip(means, log_variances, strict=True)
    ]
    np.testing.assert_allclose(draw.log_prior, np.logaddexp.reduce(each) - np.log(4), rtol=1e-10)


@pytest.mark.parametrize(
    ("blocks", "message"),
    [
        ({"encoder": DenseEncoder((6,))}, r"returns a tensor of the shape \[B, 6\], it must return a map"),
        ({"top_encoder": ConvMapEncoder((3,))}, r"`ConvMapEncoder.call` returns .* must return features"),
        ({"top_decoder": keras.layers.Dense(7)}, r"`Dense.call` returns .*\[B, 7\].* return \[B, 2, 3, 5\]"),
        (
            {"decoder": ConvMapDecoder((4,), 2, 4)},
            r"strides \(4,\) of ConvMapDecoder make .* of maps of 1x2, and the map is 2x3",
        ),
    ],
)
def test_a_block_that_does_not_fit_is_refused(blocks, message):
    with pytest.raises(ConfigurationError, match=message):
        numpy_ladder.make(**blocks).build((None, *SHAPE))


@pytest.mark.parametrize("value", [0, 1.5, "4"])
def test_the_bottom_channels_must_be_a_positive_integer(value):
    with pytest.raises(ValueError, match=r"`LadderVAE\.bottom_channels` must be a positive integer, got"):
        LadderVAE(bottom_channels=value)


def test_images_of_another_size_are_refused(model):
    with pytest.raises(ConfigurationError, match=r"built for images of the shape \[B, 4, 6, 2\], got"):
        model.encode(np.zeros((2, 8, 6, 2)))


def test_latents_without_a_group_are_refused(model):
    with pytest.raises(ConfigurationError, match="its groups are top, bottom"):
        model.decode(np.zeros((2, 3)))
