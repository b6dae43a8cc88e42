"""VAEs with an inverse autoregressive flow as posterior and with couplings as prior, from end to end."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.fixtures import numpy_flows, numpy_vae
from tests.fixtures.noted_calls import note_batch_sizes
from tests.fixtures.replica_steps import stored
from vaeflow import random, testing
from vaeflow.analysis.examples import Examples
from vaeflow.analysis.importance_sampling import ImportanceSampler
from vaeflow.datasets import InMemorySplit
from vaeflow.devices import cores
from vaeflow.layers import FlowPrior, IAFPosterior, PlanarPosterior, SplinePosterior
from vaeflow.models import VAE
from vaeflow.training.replica_step import ReplicaStep
from vaeflow.training.settings import TrainingSettings

SHAPE = (4, 3, 2)
PIXELS = np.random.default_rng(0).integers(0, 256, (12, *SHAPE)).astype(np.uint8)


def iaf_vae(num_latents=3, dtype=None):
    posterior = IAFPosterior(num_flows=2, hidden_units=(7,), dtype=dtype)
    return VAE(num_latents, posterior=posterior, dtype=dtype, **numpy_vae.blocks(dtype=dtype))


def flow_prior_vae(num_latents=3, dtype=None):
    prior = FlowPrior(2, (7,), dtype=dtype)
    return VAE(num_latents, prior=prior, dtype=dtype, **numpy_vae.blocks(dtype=dtype))


def planar_vae():
    return VAE(3, posterior=PlanarPosterior(num_flows=2), **numpy_vae.blocks())


def spline_vae():
    """With a posterior and a prior of splines."""
    posterior = SplinePosterior(num_flows=2, hidden_units=(7,), num_bins=4)
    return VAE(
        3, posterior=posterior, prior=FlowPrior(2, (7,), coupling="spline", num_bins=4), **numpy_vae.blocks()
    )


FACTORIES = pytest.mark.parametrize("factory", [iaf_vae, flow_prior_vae])


def made(factory, num_latents=3, perturbed=0.1):
    model = factory(num_latents, "float64")
    model.build((None, *SHAPE))
    numpy_flows.perturb(model, perturbed)
    return model


def features(model, images):
    """What the encoder gives, in NumPy."""
    layer = model.encoder.blocks[1]
    return np.maximum(numpy_flows.affine(layer, images.reshape(len(images), -1)), 0)


def reconstruction_loss(model, latents, images):
    """−log p(x|z) of each row, in NumPy."""
    hidden = np.maximum(numpy_flows.affine(model.decoder.hidden[0], latents), 0)
    outputs = numpy_flows.affine(model.decoder.output_layer, hidden)
    return numpy_vae.bernoulli_loss(outputs.reshape(-1, *SHAPE), images)


def kl_of_iaf(model, images, noise):
    latents, log_posterior = numpy_flows.iaf(model.posterior, features(model, images), noise)
    return latents, log_posterior - numpy_flows.standard_normal(latents)


def kl_to_flow(model, images, noise):
    encoded = features(model, images)
    mean = numpy_flows.affine(model.posterior.mean, encoded)
    log_variance = numpy_flows.affine(model.posterior.log_variance, encoded)
    log_posterior = numpy_flows.standard_normal(noise) - 0.5 * log_variance.sum(axis=1)
    latents = mean + np.exp(0.5 * log_variance) * noise
    return latents, log_posterior - numpy_flows.coupled_log_prob(model.prior, latents)


@pytest.mark.parametrize(("factory", "twin"), [(iaf_vae, kl_of_iaf), (flow_prior_vae, kl_to_flow)])
def test_the_objective_is_that_of_its_twin(factory, twin):
    model, images = made(factory), numpy_vae.images(5)
    with random.keyed(0, "train", 2):
        terms = model.objective(model.forward(tf.constant(images)), 2)
    latents, kl = twin(model, images, numpy_vae.noise(2, (5, 3)))
    np.testing.assert_allclose(terms["kl"].value, kl, rtol=1e-10)
    expected = reconstruction_loss(model, latents, images)
    np.testing.assert_allclose(terms["reconstruction_loss"].value, expected, rtol=1e-10)


def log_prior(model, latents):
    flows = isinstance(model.prior, FlowPrior)
    return (
        numpy_flows.coupled_log_prob(model.prior, latents) if flows else numpy_flows.standard_normal(latents)
    )


def integrated(model, images):
    """−log ∫ p(x|z) p(z) dz of each image, for two latents, on a grid."""
    axis, width = np.linspace(-9, 9, 241, retstep=True)
    grid = np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2)
    prior = log_prior(model, grid)
    joint = [prior - reconstruction_loss(model, grid, image[None]) for image in images]
    return -np.logaddexp.reduce(joint, axis=1) - 2 * np.log(width)


@pytest.mark.families
@FACTORIES
def test_importance_sampling_gives_the_likelihood_that_an_integral_gives(factory):
    strategy = tf.distribute.MirroredStrategy(["CPU:0"])
    with strategy.scope():
        model = made(factory, num_latents=2, perturbed=0.2)
    # Wider than p(z|x), so that no weight is large: over seeds the estimates deviate by 0.012.
    model.posterior.log_variance.bias.assign([2.0, 2.0])
    split = InMemorySplit(PIXELS[:4])
    exact = np.mean(integrated(model, PIXELS[:4] / 255))
    elbo, estimate = ImportanceSampler(Examples(model, split, strategy, 1), (1, 2000)).estimate().values()
    assert elbo - exact > 1
    assert estimate == pytest.approx(exact, abs=0.05)


@pytest.mark.slow
@FACTORIES
def test_a_step_in_parts_is_that_of_the_whole_batch(factory, monkeypatch):
    model = made(factory)
    step = ReplicaStep(
        model, keras.optimizers.SGD(0.1), InMemorySplit(PIXELS), TrainingSettings(batch_size=12)
    )
    whole = step.compute(stored(tf.constant(PIXELS)), 3)
    step.use_cores(3, step.probe({"images": tf.constant(PIXELS)}))
    monkeypatch.setattr(cores, "operations_at_a_time", lambda: 2)
    sizes = note_batch_sizes(model.encoder)
    cut = step.compute(stored(tf.constant(PIXELS)), 3)
    assert sizes == [4]  # One trace serves all parts.
    for one, other in zip(*map(tf.nest.flatten, (cut.gradients, whole.gradients)), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-12)


@pytest.mark.slow
@FACTORIES
def test_a_saved_model_comes_back(factory, tmp_path):
    model = made(factory)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    images, latents = (
        tf.constant(numpy_vae.images(3)),
        tf.constant(np.random.default_rng(0).normal(size=(3, 3))),
    )
    found, expected = (
        [each.encode(images).log_prob(latents), each.prior_distribution().log_prob(latents), each(images)]
        for each in (again, model)
    )
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.matrix
@pytest.mark.processes
@pytest.mark.parametrize("factory", [iaf_vae, flow_prior_vae, planar_vae, spline_vae])
def test_the_whole_contract(factory):
    testing.check_model(factory, SHAPE)
