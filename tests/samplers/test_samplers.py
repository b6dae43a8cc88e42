"""Samplers on latents whose distribution is known."""

import math

import numpy as np
import pytest
import tensorflow as tf

from tests.fixtures import small_code_priors, tiny_runs
from tests.fixtures.mixture_latents import (
    CENTRES,
    DEVIATION,
    WEIGHTS,
    fit_sampler,
    gaussian_embedding,
    make_embedding,
    make_model,
)
from vaeflow import random, registry, samplers
from vaeflow.analysis.embedding import Embedding
from vaeflow.distributions import Gaussian
from vaeflow.errors import ConfigurationError
from vaeflow.layers import StandardNormalPrior
from vaeflow.models import VAE
from vaeflow.samplers import CodeSampler


class WidePrior(StandardNormalPrior):
    """N(1, 4)."""

    def distribution(self, model):
        return Gaussian(tf.ones(self.latents_shape), tf.fill(self.latents_shape, math.log(4.0)))


ALL = [samplers.PriorSampler, samplers.AggregatePosteriorSampler, samplers.GaussianMixtureSampler]


@pytest.mark.slow
@pytest.mark.parametrize("make", ALL)
def test_a_seed_gives_the_same_samples_and_another_others(make):
    first = fit_sampler(make()).sample(50, seed=7)
    assert first.shape == (50, 2)
    assert np.isfinite(first).all()
    np.testing.assert_array_equal(fit_sampler(make()).sample(50, seed=7), first)
    assert not np.intersect1d(fit_sampler(make()).sample(50, seed=8), first).size
    assert len(np.unique(first[:, 0])) == 50


def test_the_models_prior_is_sampled():
    assert_moments(fit_sampler(samplers.PriorSampler()).sample(4000, 0), [0, 0], np.eye(2))
    wide = fit_sampler(samplers.PriorSampler(), model=make_model(2, WidePrior())).sample(4000, 0)
    assert_moments(wide, [1, 1], 4 * np.eye(2))


def assert_moments(latents, mean, covariance):
    """Within 4 standard errors of an independent sample."""
    covariance, count = np.asarray(covariance, float), len(latents)
    variance = np.diag(covariance)
    assert np.all(np.abs(latents.mean(axis=0) - mean) < 4 * np.sqrt(variance / count))
    error = 4 * np.sqrt((covariance**2 + np.outer(variance, variance)) / count)
    assert np.all(np.abs(np.cov(latents.T) - covariance) < error)


def test_the_aggregate_posterior_has_the_moments_of_the_mixture_of_posteriors():
    data = make_embedding()
    # Means close together, so that both parts of the variance count.
    mean, log_variance = 0.1 * data.parameters["mean"], data.parameters["log_variance"]
    data = gaussian_embedding(mean, log_variance, data.latents)
    latents = fit_sampler(samplers.AggregatePosteriorSampler(), embedding=data).sample(20000, 0)
    mean = mean.astype(float)
    # The law of total covariance.
    covariance = np.cov(mean.T, bias=True) + np.diag(np.exp(log_variance.astype(float)).mean(axis=0))
    assert_moments(latents, mean.mean(axis=0), covariance)


def test_the_aggregate_posterior_picks_every_image_equally_often():
    count = 5
    mean = np.arange(count, dtype=np.float32)[:, None]
    narrow = gaussian_embedding(mean, np.full_like(mean, -30.0), mean)
    latents = fit_sampler(samplers.AggregatePosteriorSampler(), embedding=narrow).sample(5000, 0)
    picked = np.bincount(np.round(latents[:, 0]).astype(int), minlength=count)
    assert len(picked) == count
    assert np.all(np.abs(picked - 1000) < 4 * np.sqrt(5000 * 0.2 * 0.8))


def test_the_aggregate_posterior_of_another_kind_takes_the_draws_of_the_embedding():
    codes = np.arange(6, dtype=np.float32).reshape(3, 2)
    embedding = Embedding(np.arange(3), codes + 100.0, codes, {"center": codes + 100.0})
    drawn = fit_sampler(samplers.AggregatePosteriorSampler(), embedding=embedding).sample(50, 0)
    assert {tuple(row) for row in drawn.tolist()} == {tuple(row) for row in codes.tolist()}


@pytest.mark.parametrize("covariance_type", samplers.COVARIANCE_TYPES)
def test_a_mixture_is_recovered(covariance_type):
    sampler = fit_sampler(samplers.GaussianMixtureSampler(3, covariance_type))
    latents = sampler.sample(6000, 0)
    nearest = np.argmin(np.linalg.norm(latents[:, None] - CENTRES, axis=-1), axis=1)
    np.testing.assert_allclose(np.bincount(nearest) / len(latents), WEIGHTS, atol=0.03)
    expected = DEVIATION if covariance_type != "spherical" else np.sqrt(np.mean(DEVIATION**2))
    for component, centre in enumerate(CENTRES):
        part = latents[nearest == component]
        np.testing.assert_allclose(part.mean(axis=0), centre, atol=0.15)
        np.testing.assert_allclose(part.std(axis=0), np.broadcast_to(expected, 2), rtol=0.1)
    # In random order, where scikit-learn gives one component after the other.
    assert np.mean(nearest[1:] != nearest[:-1]) > 0.5


@pytest.mark.slow
def test_one_latent():
    data = make_embedding()
    parts = (data.parameters["mean"], data.parameters["log_variance"], data.latents)
    narrow = gaussian_embedding(*(part[:, :1] for part in parts))
    for make in ALL:
        assert fit_sampler(make(), model=make_model(1), embedding=narrow).sample(3, 0).shape == (3, 1)


def test_fewer_images_than_components():
    with pytest.raises(ConfigurationError, match=r"at most the number of images .*, 9, got 10; lower it"):
        fit_sampler(samplers.GaussianMixtureSampler(), embedding=make_embedding(9))
    assert fit_sampler(samplers.GaussianMixtureSampler(9), embedding=make_embedding(9)).sample(
        4, 0
    ).shape == (
        4,
        2,
    )


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_components": 0}, "`GaussianMixtureSampler.num_components` must be a positive integer, got 0"),
        (
            {"covariance_type": "round"},
            "`GaussianMixtureSampler.covariance_type` must be one of 'full', 'tied'",
        ),
    ],
)
def test_settings_are_checked(settings, message):
    with pytest.raises(ValueError, match=message):
        samplers.GaussianMixtureSampler(**settings)


def test_names():
    assert [make().name for make in ALL] == ["prior", "aggregate_posterior", "gaussian_mixture"]

    class VAMPSampler(samplers.PriorSampler):
        pass

    class Sampler2(samplers.PriorSampler):
        pass

    assert (VAMPSampler().name, Sampler2().name) == ("vamp", "sampler2")


def test_they_are_registered():
    assert {entry.name for entry in registry.entries("sampler")} >= {make.__name__ for make in ALL}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"temperature": 0.0}, "`CodeSampler.temperature` must be a number above 0, got 0.0"),
        ({"top_k": 1.5}, "`CodeSampler.top_k` must be a positive integer, got 1.5"),
        ({"top_p": 1.1}, "`CodeSampler.top_p` must be a number above 0 and at most 1, got 1.1"),
    ],
)
def test_a_faulty_setting_of_the_draw_of_codes_is_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        CodeSampler(**settings)


def test_codes_of_a_model_with_latents_are_refused():
    with pytest.raises(ConfigurationError, match="CodeSampler draws codes, which a VAE has not; set"):
        CodeSampler().fit(VAE(), None, 0)


@pytest.mark.slow
def test_a_map_of_codes_has_the_noise_of_its_number():
    """Number 64 begins the second block of 64 rows."""
    sampler = CodeSampler(top_p=0.9)
    model = small_code_priors.made()
    sampler.use(model)
    with tiny_runs.untraced():
        found = sampler.sample(66, 3)
        with random.keyed(3, "code sampler", 0, 64):
            expected = model.sample(2, top_p=0.9)
    np.testing.assert_array_equal(found[64:], expected)
