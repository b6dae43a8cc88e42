"""Mixtures as priors, against NumPy and finite differences: written from the papers' formulas."""

import math

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.fixtures import numpy_mixtures, numpy_vae, small_priors, tiny_runs
from tests.fixtures.noted_calls import note_batch_sizes
from tests.fixtures.replica_steps import stored
from vaeflow import random, testing
from vaeflow.datasets import InMemorySplit
from vaeflow.errors import ConfigurationError
from vaeflow.layers import DenseEncoder, DeterministicPosterior, MixturePrior, VampPrior
from vaeflow.models import VAE
from vaeflow.training.replica_step import ReplicaStep
from vaeflow.training.settings import TrainingSettings

SHAPE = (4, 3, 2)
FACTORIES = [small_priors.mixture, small_priors.vamp, small_priors.vamp_from_data]
LATENTS = np.random.default_rng(0).normal(size=(6, 2))


@pytest.fixture(autouse=True)
def double_precision():
    """`conftest.py` takes it back."""
    keras.config.set_dtype_policy("float64")
    keras.config.set_floatx("float64")


def built(factory=small_priors.vamp, shape=SHAPE):
    model = factory()
    model.build((None, *shape))
    return model


def pseudo_posteriors(model, pseudo_inputs):
    """The means and log variances of q(z|u_k), in NumPy."""
    mean, log_variance, _, _ = numpy_vae.forward(model, np.clip(pseudo_inputs, 0, 1), 0.0)
    return mean, log_variance


def vamp_density(model, latents, pseudo_inputs):
    """Eq. 9 of arXiv:1705.07120: the mean of the densities q(z|u_k)."""
    weights = np.full(len(pseudo_inputs), 1 / len(pseudo_inputs))
    return numpy_mixtures.density(latents, weights, *pseudo_posteriors(model, pseudo_inputs))


def test_a_trained_mixture_is_the_sum_over_its_components():
    model = built(small_priors.mixture)
    rng = np.random.default_rng(1)
    logits, means, log_variances = (rng.normal(size=shape) for shape in ((4,), (4, 2), (4, 2)))
    model.prior.set_weights([logits, means, log_variances])
    weights = np.exp(logits) / np.exp(logits).sum()
    expected = numpy_mixtures.density(LATENTS, weights, means, log_variances)
    np.testing.assert_allclose(model.prior_distribution().log_prob(LATENTS), np.log(expected), rtol=1e-12)


def test_a_trained_mixture_begins_with_equal_weights_and_the_given_spreads():
    prior = MixturePrior(5000, initial_spread=2.0, initial_deviation=0.5)
    prior.build((None, 3))
    means = prior.means.numpy()
    assert np.all(np.abs(means.mean(axis=0)) < 4 * 2 / math.sqrt(5000))
    assert np.all(np.abs(means.std(axis=0) - 2) < 4 * 2 / math.sqrt(2 * 5000))
    np.testing.assert_array_equal(prior.logits, np.zeros(5000))
    np.testing.assert_allclose(np.exp(prior.log_variances.numpy() / 2), np.full((5000, 3), 0.5))


def test_the_seed_chooses_the_initial_means():
    def means(seed):
        keras.utils.set_random_seed(seed)
        return built(small_priors.mixture).prior.means.numpy()

    first = means(1)
    np.testing.assert_array_equal(means(1), first)
    assert not np.any(np.isclose(means(2), first))
    assert len(np.unique(first)) == first.size


def test_the_vamp_prior_is_the_mean_of_the_posteriors_of_its_pseudo_inputs():
    model = built()
    expected = np.log(vamp_density(model, LATENTS, model.prior.pseudo_inputs.numpy()))
    np.testing.assert_allclose(model.prior_distribution().log_prob(LATENTS), expected, rtol=1e-10)


def test_pseudo_inputs_are_clipped_to_the_range_of_images():
    model = built()
    outside = np.random.default_rng(1).normal(0.5, 1, (5, *SHAPE))
    model.prior.set_weights([outside])
    expected = np.log(vamp_density(model, LATENTS, np.minimum(np.maximum(outside, 0), 1)))
    np.testing.assert_allclose(model.prior_distribution().log_prob(LATENTS), expected, rtol=1e-10)


def test_pixels_get_a_gradient_up_to_the_ends_of_the_range():
    """So black and white pixels of training images can be trained."""
    model = built(lambda: small_priors.with_prior(VampPrior(1)))
    pixels = np.full((1, *SHAPE), 0.5)
    pixels[0, 0, 0] = 0.0, 1.0
    pixels[0, 1, 0] = -0.01, 1.01
    model.prior.set_weights([pixels])
    with tf.GradientTape() as tape:
        log_prob = model.prior_distribution().log_prob(LATENTS)
    gradient = tape.gradient(log_prob, model.prior.pseudo_inputs.value).numpy()
    assert np.all(gradient[0, 0, 0] != 0)
    np.testing.assert_array_equal(gradient[0, 1, 0], [0, 0])


def test_draws_from_the_vamp_prior_have_its_moments():
    model, count = built(), 50_000
    with random.keyed(1, "test", 0):
        draws, _ = model.prior_distribution().draw(count)
    components = pseudo_posteriors(model, model.prior.pseudo_inputs.numpy())
    numpy_mixtures.assert_moments(draws.numpy(), np.full(5, 0.2), *components)


def test_the_gradient_of_the_loss_reaches_the_pseudo_inputs():
    """Finite differences of the negative ELBO, all of it in NumPy."""
    model = built()
    images, epsilon = numpy_vae.images(3), numpy_vae.noise(0, (3, 2))
    mean, log_variance, latents, outputs = numpy_vae.forward(model, images, epsilon)
    start = model.prior.pseudo_inputs.numpy()

    def loss(pseudo_inputs):
        log_posterior = [
            np.log(numpy_mixtures.gaussian_density(*each))
            for each in zip(latents, mean, log_variance, strict=True)
        ]
        log_prior = np.log(vamp_density(model, latents, pseudo_inputs))
        return np.mean(numpy_vae.bernoulli_loss(outputs, images) + log_posterior - log_prior)

    with tf.GradientTape() as tape, random.keyed(0, "train", 0):
        terms = model.objective(model.forward(tf.constant(images), training=True), 0)
        value = sum(tf.reduce_mean(term.value) for term in terms.values())
    gradient = tape.gradient(value, model.prior.pseudo_inputs.value).numpy()
    assert float(value) == pytest.approx(loss(start), rel=1e-10)
    step = 1e-5
    for place in [(0, 0, 0, 0), (1, 3, 2, 1), (4, 2, 1, 0)]:
        moved = np.zeros_like(start)
        moved[place] = step
        difference = (loss(start + moved) - loss(start - moved)) / (2 * step)
        assert gradient[place] == pytest.approx(difference, rel=1e-6, abs=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("factory", FACTORIES)
def test_parts_of_the_batch_give_the_gradients_of_the_whole(factory):
    model = built(factory)
    pixels = tf.constant(np.random.default_rng(0).integers(0, 256, (12, *SHAPE)), tf.uint8)
    step = ReplicaStep(
        model, keras.optimizers.SGD(0.1), InMemorySplit(pixels.numpy()), TrainingSettings(batch_size=12)
    )
    whole = step.compute(stored(pixels), 3)
    step.use_cores(3, step.probe({"images": pixels}))
    sizes = note_batch_sizes(model.encoder)
    cut = step.compute(stored(pixels), 3)
    assert sizes.count(4) == 1  # One trace serves all parts.
    for one, other in zip(*map(tf.nest.flatten, (cut.gradients, whole.gradients)), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-12)
    for name, value in whole.metrics.items():
        assert float(cut.metrics[name]) == pytest.approx(float(value), rel=1e-11), name


@pytest.mark.slow
@pytest.mark.parametrize("check", [testing.check_terms, testing.check_saving])
@pytest.mark.parametrize("factory", [small_priors.mixture, small_priors.vamp])
def test_it_keeps_the_contract(factory, check):
    check(factory, SHAPE)


@pytest.mark.slow
def test_a_resumed_run_keeps_its_own_pseudo_inputs():
    """It begins from images of the training split first, as a fresh run does."""
    with tiny_runs.untraced():
        testing.check_resume(small_priors.vamp_from_data, SHAPE)


@pytest.mark.matrix
@pytest.mark.processes
@pytest.mark.parametrize("factory", FACTORIES)
def test_it_keeps_the_whole_contract_on_two_replicas_too(factory):
    testing.check_model(factory, SHAPE)


def test_the_losses_of_blocks_are_those_of_the_images():
    """The encoder also runs on the pseudo-inputs, and Keras keeps the losses of the last call."""

    class Penalized(DenseEncoder):
        def call(self, images, training=None):
            self.add_loss(tf.reduce_mean(images))
            return super().call(images, training)

    model = VAE(num_latents=2, encoder=Penalized((6,)), prior=VampPrior(5))
    images = tf.constant(numpy_vae.images(3))
    model.build((None, *SHAPE))
    (loss,) = model.forward(images).block_losses
    np.testing.assert_allclose(loss, tf.reduce_mean(images))


def test_a_vamp_prior_needs_gaussian_posteriors():
    model = built(lambda: small_priors.with_prior(VampPrior(5), posterior=DeterministicPosterior()))
    message = r"VampPrior is defined for a Gaussian posterior, got Point; set `VAE.posterior` to @GaussianPos"
    with pytest.raises(ConfigurationError, match=message):
        model.prior_distribution()


def test_a_vamp_prior_alone_needs_the_shape_of_images():
    with pytest.raises(
        ConfigurationError, match=r"`VampPrior.image_shape` must be \(height, width, channels\)"
    ):
        VampPrior(5).build((None, 2))


@pytest.mark.parametrize(
    ("kind", "setting", "value"),
    [
        (MixturePrior, "num_components", 0),
        (MixturePrior, "initial_spread", 0.0),
        (MixturePrior, "initial_deviation", -1.0),
        (VampPrior, "num_pseudo_inputs", 2.5),
        (VampPrior, "start", "images"),
        (VampPrior, "initial_mean", math.inf),
        (VampPrior, "initial_deviation", 0.0),
    ],
)
def test_a_faulty_setting_is_refused(kind, setting, value):
    with pytest.raises(ValueError, match=f"`{kind.__name__}.{setting}` must be"):
        kind(**{setting: value})
