"""A VAE with categorical latents: its objective against NumPy, hard codes in use, and the commands."""

import itertools
import json

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.fixtures import code_prior_runs, numpy_categories, numpy_flows, numpy_vae, tiny_runs, trained_runs
from vaeflow import random, testing
from vaeflow.commands import command_line
from vaeflow.commands.programs import embed, encode, evaluate, export, sample
from vaeflow.errors import ConfigurationError
from vaeflow.layers import GumbelSoftmaxPosterior, UniformCodes
from vaeflow.models import IWAE, VAE

SHAPE = (4, 3, 2)
NUM_LATENTS, NUM_CATEGORIES, TEMPERATURE = 2, 3, 0.8
# Of a trained run.
SETTINGS = (
    "VAE.posterior = @GumbelSoftmaxPosterior()",
    "VAE.prior = @UniformCodes()",
    "GumbelSoftmaxPosterior.temperature = @ExponentialSchedule()",
    "GumbelSoftmaxPosterior.num_categories = 4",
    "Arrays.binarization = 'dynamic'",
)


def categorical_vae(dtype=None, kind=VAE):
    posterior = GumbelSoftmaxPosterior(num_categories=NUM_CATEGORIES, temperature=TEMPERATURE, dtype=dtype)
    return kind(
        NUM_LATENTS, posterior=posterior, prior=UniformCodes(), dtype=dtype, **numpy_vae.blocks(dtype=dtype)
    )


def made():
    keras.utils.set_random_seed(0)
    model = categorical_vae("float64")
    model.build((None, *SHAPE))
    numpy_flows.perturb(model)
    return model


def test_the_objective_in_training_is_that_of_its_twin():
    model, images = made(), numpy_vae.images(5)
    with random.keyed(0, "train", 7):
        terms = model.objective(model.forward(tf.constant(images), 7, training=True), 7)
    logits = numpy_categories.logits(model, model.posterior, images)
    noise = numpy_categories.gumbel_noise(logits.shape)
    relaxed = numpy_categories.relaxed(logits, noise, TEMPERATURE).reshape(5, -1)
    loss = numpy_categories.reconstruction_loss(model, relaxed, images)
    np.testing.assert_allclose(terms["reconstruction_loss"].value, loss, rtol=1e-10)
    np.testing.assert_allclose(
        terms["kl"].value, numpy_categories.kl_to_uniform(logits).sum(axis=1), rtol=1e-10
    )


def test_outside_of_training_latents_are_one_hot():
    model, images = made(), numpy_vae.images(5)
    forward = model.forward(tf.constant(images))
    for latents in (forward.latents, model.encode(images).center, model.sample_latents(5)["z"]):
        by_variable = np.reshape(latents, (5, NUM_LATENTS, NUM_CATEGORIES))
        np.testing.assert_array_equal(np.sort(by_variable, axis=-1), np.eye(3)[[2]] * np.ones((5, 2, 1)))


def test_importance_weights_give_the_likelihood_of_the_discrete_model():
    """Over all values of the latents, of which each is drawn in proportion to q: the sum is exact."""
    model, images = made(), numpy_vae.images(1)
    codes = list(itertools.product(range(NUM_CATEGORIES), repeat=NUM_LATENTS))
    values = np.eye(NUM_CATEGORIES)[codes].reshape(len(codes), -1)
    losses = numpy_categories.reconstruction_loss(model, values, np.repeat(images, len(codes), axis=0))
    exact = np.log(np.mean(np.exp(-losses)))
    with random.keyed(0, "train", 7):
        forward = model.forward(tf.constant(images), num_samples=4000)
    weights = forward.log_weight.numpy()[0]
    # The weight of a value is p(x, z) / q(z|x); a draw of it is one of the exact ones.
    log_q = np.log(numpy_categories.softmax(numpy_categories.logits(model, model.posterior, images)))[0]
    expected = [
        -loss - NUM_LATENTS * np.log(NUM_CATEGORIES) - sum(log_q[g, k] for g, k in enumerate(code))
        for loss, code in zip(losses, codes, strict=True)
    ]
    assert np.abs(weights[:, None] - expected).min(axis=1).max() < 1e-9
    error = np.std(np.exp(weights - exact)) / np.sqrt(len(weights))
    assert np.mean(np.exp(weights - exact)) == pytest.approx(1, abs=4 * error)


def test_codes_and_images_go_both_ways():
    model, images = made(), numpy_vae.images(5)
    codes = model.encode_codes(images)
    assert (codes.dtype, codes.shape) == (tf.int32, (5, 1, 1, NUM_LATENTS))
    np.testing.assert_array_equal(model.decode_codes(codes).mean, model(images))


@pytest.mark.parametrize("estimator", ["standard", "dreg"])
def test_an_iwae_is_refused(estimator):
    model = categorical_vae("float64", lambda *args, **kwargs: IWAE(*args, estimator=estimator, **kwargs))
    with pytest.raises(ConfigurationError, match=r"densities, and RelaxedOneHot|needs a density"):
        model.objective(model.forward(numpy_vae.images(3), 7, training=True), 7)


def test_the_default_prior_is_refused():
    model = VAE(NUM_LATENTS, posterior=GumbelSoftmaxPosterior(), **numpy_vae.blocks())
    with pytest.raises(ConfigurationError, match="categorical latents need a prior over codes, got Gaussian"):
        model.objective(model.forward(numpy_vae.images(3).astype("float32"), 7, training=True), 7)


@pytest.mark.matrix
@pytest.mark.slow
@pytest.mark.processes
def test_the_whole_contract():
    testing.check_model(categorical_vae, SHAPE)


@pytest.mark.matrix
@pytest.mark.slow
@pytest.mark.processes
def test_every_command_takes_it(tmp_path):
    workdir = trained_runs.trained_folder(tmp_path, *SETTINGS)
    for program in (evaluate, sample, embed, export):
        with tiny_runs.configuration_of_its_own():
            assert command_line.main(program.COMMAND, [f"--workdir={workdir}"]) == 0, program.__name__
    report = json.loads((workdir / "evaluation.json").read_text())["metrics"]
    assert report["nll_is50_nats[dynamic]"] < report["nll_is1_nats[dynamic]"]
    with np.load(workdir / "embeddings" / "evaluation.npz") as arrays:
        assert arrays["codes"].shape == (11, 1, 1, 3)


@pytest.mark.families
@pytest.mark.slow
def test_a_code_prior_takes_the_categories_as_codes_of_one_place(tmp_path):
    workdir = trained_runs.trained_folder(tmp_path, *SETTINGS)
    assert code_prior_runs.call(encode, f"--workdir={workdir}") == 0
    prior = code_prior_runs.prior(tmp_path, workdir, "CodePrior.code_sizes = 4")
    assert code_prior_runs.call(sample, f"--workdir={prior}", "--gin_param=sample.num_samples = 6") == 0
    with np.load(prior / "samples" / "samples.npz") as arrays:
        assert arrays["samples_prior_codes"].shape == (6, 1, 1, 3)
        assert arrays["samples_prior_images"].shape == (6, 8, 8, 1)
