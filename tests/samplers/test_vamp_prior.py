"""A VampPrior fitted to the latents of a model."""

import keras
import numpy as np
import pytest

from tests.fixtures import numpy_mixtures, numpy_vae
from tests.fixtures.mixture_latents import gaussian_embedding
from vaeflow.analysis.embedding import Embedding
from vaeflow.errors import ConfigurationError
from vaeflow.models import VAE
from vaeflow.samplers import VampPriorSampler

SMALL = {"num_pseudo_inputs": 4, "num_steps": 60, "batch_size": 64, "learning_rate": 0.03}


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(0)
    model = VAE(num_latents=2, **numpy_vae.blocks())
    model.build((None, 4, 3, 2))
    generator = np.random.default_rng(1)
    for variable in model.trainable_variables:
        variable.assign_add(0.5 * generator.normal(size=variable.shape))
    return model


@pytest.fixture(scope="module")
def embedding(model):
    """Of black and white images, which lie apart."""
    images = np.random.default_rng(0).choice([0.05, 0.95], size=(300, 1, 1, 1)) * np.ones((4, 3, 2))
    posterior = model.encode(images.astype(np.float32))
    return gaussian_embedding(
        posterior.mean.numpy(), posterior.log_variance.numpy(), posterior.draw()[0].numpy()
    )


@pytest.mark.slow
def test_a_seed_gives_the_same_fit_and_samples(model, embedding):
    drawn = []
    for _ in range(2):
        sampler = VampPriorSampler(**SMALL | {"num_steps": 5})
        sampler.fit(model, embedding, 0)
        drawn.append(sampler.sample(50, 7))
    assert drawn[0].shape == (50, 2)
    np.testing.assert_array_equal(drawn[0], drawn[1])
    assert not np.intersect1d(drawn[0], sampler.sample(50, 8)).size


@pytest.mark.slow
def test_the_fit_makes_latents_likely_and_leaves_the_model_alone(model, embedding):
    before = [variable.numpy() for variable in model.variables]

    def mean_density(num_steps):
        sampler = VampPriorSampler(**SMALL | {"num_steps": num_steps})
        sampler.fit(model, embedding, 0)
        mixture = sampler._mixture
        weights = np.full(4, 0.25)
        components = mixture.means.numpy(), mixture.log_variances.numpy()
        return np.log(numpy_mixtures.density(embedding.latents.astype(float), weights, *components)).mean()

    assert mean_density(60) > mean_density(1) + 0.02
    for variable, value in zip(model.variables, before, strict=True):
        np.testing.assert_array_equal(variable, value)


def test_a_posterior_that_is_no_gaussian_is_refused(model):
    codes = np.zeros((5, 2), np.float32)
    with pytest.raises(ConfigurationError, match="VampPriorSampler needs a Gaussian posterior"):
        VampPriorSampler().fit(model, Embedding(np.arange(5), codes, codes, {"center": codes}), 0)


@pytest.mark.parametrize(("setting", "value"), [("num_pseudo_inputs", 0), ("num_steps", 2.5)])
def test_a_faulty_setting_is_refused(setting, value):
    with pytest.raises(ValueError, match=f"`VampPriorSampler.{setting}` must be"):
        VampPriorSampler(**{setting: value})


def test_it_names_its_files():
    assert VampPriorSampler().name == "vamp_prior"
