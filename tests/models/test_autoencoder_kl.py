"""The autoencoder of latent diffusion: its objective, its training with recompute, saving."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.fixtures import numpy_vae, small_maps, tiny_runs
from tests.fixtures.small_trainers import assert_same, make_trainer, weights
from vaeflow import random, testing
from vaeflow.datasets import InMemorySplit
from vaeflow.errors import ConfigurationError
from vaeflow.layers import GaussianMapPosterior
from vaeflow.models import AutoencoderKL

SHAPE = (4, 2, 2)
PIXELS = np.random.default_rng(0).integers(0, 256, (8, *SHAPE)).astype(np.uint8)


def small(recompute=False, dtype=None):
    return AutoencoderKL(3, **small_maps.blocks(dtype, (3, 5), recompute), dtype=dtype)


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(0)
    model = small(True, "float64")
    model.build((None, *SHAPE))
    return model


@pytest.mark.slow
def test_the_terms_are_sums_over_pixels_and_over_latents(model):
    """In NumPy, of the nets' outputs, with the paper's |x − x̂| of values in −1 … 1."""
    images = numpy_vae.images(5, SHAPE)
    with random.keyed(0, "train", 7):
        forward = model.forward(tf.constant(images), 7, training=True)
        terms = model.objective(forward, 7)
    features = np.asarray(model.encoder(images))
    kernel, bias = (np.asarray(each) for each in model.posterior.variables)
    mean, log_variance = np.split(features @ kernel[0, 0] + bias, 2, axis=-1)
    latents = mean + np.exp(0.5 * log_variance) * numpy_vae.noise(7, mean.shape)
    np.testing.assert_allclose(forward.latents, latents, rtol=1e-12)
    outputs = np.asarray(model.decoder(latents))
    losses = {
        "reconstruction_loss": np.abs((2 * images - 1) - (2 * outputs - 1)).sum(axis=(1, 2, 3)),
        "kl": numpy_vae.kl(mean.reshape(5, -1), log_variance.reshape(5, -1)),
    }
    assert terms.keys() == losses.keys()
    for name, expected in losses.items():
        np.testing.assert_allclose(terms[name].value, expected, rtol=1e-11)
    assert (terms["reconstruction_loss"].weight, terms["kl"].weight) == (1.0, 1e-6)


def test_log_variances_are_limited():
    posterior = GaussianMapPosterior(1, dtype="float64")
    posterior.build((None, 1, 1, 1))
    kernel, _ = posterior.variables
    kernel.assign(np.array([[[[1.0, 1.0]]]]))
    mean, log_variance = posterior(np.array([-99.0, 3.0, 99.0]).reshape(3, 1, 1, 1))
    np.testing.assert_array_equal(np.ravel(mean), [-99.0, 3.0, 99.0])
    np.testing.assert_array_equal(np.ravel(log_variance), [-30.0, 3.0, 20.0])


def trained(recompute, **settings):
    trainer = make_trainer(
        lambda: keras.optimizers.Adam(0.01), InMemorySplit(PIXELS), lambda: small(recompute), 4, **settings
    )
    trainer.train(2)
    return weights(trainer)


@pytest.mark.families
def test_two_steps_of_training_are_those_without_recompute():
    with tiny_runs.untraced():
        assert_same(trained(True), trained(False))


@pytest.mark.tokenizers
@pytest.mark.parametrize(
    "settings",
    [{"compile_mode": "loop"}, {"gradient_accumulation_steps": 2}, {"compile_mode": "step"}],
    ids=str,
)
def test_compiled_training_is_that_without_recompute(settings):
    assert_same(trained(True, **settings), trained(False))


@pytest.mark.tokenizers
@pytest.mark.parametrize("eagerly", [True, False])
def test_fit_is_that_without_recompute(eagerly):
    found = []
    for recompute in (False, True):
        keras.utils.set_random_seed(0)
        model = small(recompute, "float64")
        model.compile(keras.optimizers.Adam(0.01), run_eagerly=eagerly)
        model.fit(PIXELS / 255.0, batch_size=4, shuffle=False, verbose=0)
        found.append(model.get_weights())
    assert_same(*found)


@pytest.mark.tokenizers
def test_a_saved_model_comes_back(model, tmp_path):
    model.save(tmp_path / "model.keras")
    again, images = keras.saving.load_model(tmp_path / "model.keras"), numpy_vae.images(3, SHAPE)
    assert again.encoder.recompute
    np.testing.assert_array_equal(again(images), model(images))


def test_images_that_the_nets_do_not_divide_are_refused():
    with pytest.raises(
        ConfigurationError, match="images must be multiples of 2 pixels high and wide, got 4x3"
    ):
        small().build((None, 4, 3, 2))


@pytest.mark.tokenizers
@pytest.mark.parametrize("check", testing.CHECKS, ids=lambda check: check.__name__)
def test_the_contract_holds_with_recompute_and_a_stride(check):
    check(lambda: small(recompute=True), SHAPE)
