"""From features to latents: the posterior, the draw and the prior."""

import types

import keras
import numpy as np
import pytest
import tensorflow as tf

from vaeflow import random
from vaeflow.distributions import Gaussian, Point, closed_kl, has_density
from vaeflow.errors import ConfigurationError
from vaeflow.layers import DeterministicPosterior, GaussianPosterior, StandardNormalPrior
from vaeflow.models import VAE


def test_the_posterior_is_two_affine_maps():
    posterior = GaussianPosterior(3, dtype="float64")
    features = np.random.default_rng(0).normal(size=(4, 5))
    mean, log_variance = posterior(features)
    mean_kernel, mean_bias, kernel, bias = posterior.get_weights()
    np.testing.assert_allclose(mean, features @ mean_kernel + mean_bias, atol=1e-13)
    np.testing.assert_allclose(log_variance, features @ kernel + bias, atol=1e-13)


def test_the_gradients_of_the_posterior_are_those_of_two_layers():
    posterior = GaussianPosterior(3, dtype="float64")
    rng = np.random.default_rng(0)
    features, of_mean, of_log_variance = rng.normal(size=(4, 5)), *rng.normal(size=(2, 4, 3))
    with tf.GradientTape() as tape:
        mean, log_variance = posterior(features)
        loss = tf.reduce_sum(of_mean * mean) + tf.reduce_sum(of_log_variance * log_variance)
    gradients = tape.gradient(loss, [weight.value for weight in posterior.trainable_variables])
    expected = [features.T @ of_mean, of_mean.sum(0), features.T @ of_log_variance, of_log_variance.sum(0)]
    for ours, exact in zip(gradients, expected, strict=True):
        np.testing.assert_allclose(ours, exact, atol=1e-13)


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_the_posterior_computes_in_the_precision_of_its_policy(policy):
    mean, log_variance = GaussianPosterior(3, dtype=policy)(np.ones((4, 5), "float32"))
    assert mean.dtype == log_variance.dtype == policy.removeprefix("mixed_")


@pytest.mark.parametrize("num_latents", [0, -3, 2.0, True])
def test_the_number_of_latents_must_be_positive(num_latents):
    with pytest.raises(ValueError, match=r"`GaussianPosterior.num_latents` must be a positive integer, got"):
        GaussianPosterior(num_latents)


def test_a_posterior_takes_the_number_of_latents_from_the_model():
    posterior = GaussianPosterior(dtype="float64")
    posterior.use_num_latents(3)
    assert [value.shape for value in posterior(np.zeros((4, 5)))] == [(4, 3), (4, 3)]


def test_two_numbers_of_latents_are_refused():
    with pytest.raises(ConfigurationError, match=r"num_latents` is 2, and the model has 3 latents"):
        VAE(num_latents=3, posterior=GaussianPosterior(2))


def test_a_posterior_computes_in_the_dtype_of_its_variables_unless_told_otherwise():
    keras.config.set_dtype_policy("mixed_bfloat16")
    assert GaussianPosterior(3).compute_dtype == "float32"


def test_a_deterministic_posterior_is_one_affine_map_without_a_density():
    posterior = DeterministicPosterior(3, dtype="float64")
    features = np.random.default_rng(0).normal(size=(4, 5))
    point = posterior.distribution(posterior(features))
    kernel, bias = posterior.get_weights()
    value, log_prob = point.draw()
    np.testing.assert_allclose(value, features @ kernel + bias, atol=1e-13)
    np.testing.assert_array_equal(point.center, value)
    assert log_prob is None
    assert not has_density(point)


def test_a_draw_scales_and_shifts_the_noise_of_its_key():
    mean, log_variance = np.random.default_rng(0).normal(size=(2, 4, 3))
    with random.keyed(1, "train", 2):
        noise = random.normal((4, 3), "float64").numpy()
    with random.keyed(1, "train", 2):
        sample, log_prob = Gaussian(tf.constant(mean), tf.constant(log_variance)).draw()
    np.testing.assert_allclose(sample, mean + np.exp(log_variance / 2) * noise, atol=1e-13)
    density = np.exp(-(noise**2) / 2) / np.sqrt(2 * np.pi * np.exp(log_variance))
    np.testing.assert_allclose(log_prob, np.log(density).sum(axis=1), rtol=1e-10)


def test_a_draw_is_differentiable():
    mean = tf.Variable(np.zeros((2, 3)))
    log_variance = tf.Variable(np.full((2, 3), 0.8))
    with tf.GradientTape() as tape, random.keyed(1, "train", 2):
        sample, _ = Gaussian(tf.convert_to_tensor(mean), tf.convert_to_tensor(log_variance)).draw()
    by_mean, by_log_variance = tape.gradient(sample, [mean, log_variance])
    np.testing.assert_allclose(by_mean, np.ones((2, 3)))
    np.testing.assert_allclose(by_log_variance, sample / 2)  # d/dl exp(l/2) ε = ½ exp(l/2) ε.


def standard_normal(dtype):
    """p(z) over 3 latents, for a model of a dtype."""
    prior = StandardNormalPrior()
    prior.build((None, 3))
    return prior.distribution(types.SimpleNamespace(variable_dtype=dtype))


def test_kl_to_the_standard_normal_prior():
    mean, log_variance = np.random.default_rng(0).normal(size=(2, 4, 3))
    posterior = Gaussian(tf.constant(mean), tf.constant(log_variance))
    expected = 0.5 * (mean**2 + np.exp(log_variance) - log_variance - 1)
    np.testing.assert_allclose(closed_kl(posterior, standard_normal("float64")), expected, rtol=1e-12)


def test_the_posterior_that_is_the_prior_costs_nothing():
    posterior = Gaussian(tf.zeros((4, 3)), tf.zeros((4, 3)))
    np.testing.assert_array_equal(closed_kl(posterior, standard_normal("float32")), np.zeros((4, 3)))


def test_no_closed_form_is_known_to_another_kind_of_distribution():
    assert closed_kl(Gaussian(tf.zeros((4, 3)), tf.zeros((4, 3))), Point(tf.zeros(3))) is None


@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-12), ("float32", 1e-6)])
def test_the_log_density_of_the_standard_normal_prior(dtype, tolerance):
    latents = tf.cast(np.random.default_rng(0).normal(size=(4, 3)), dtype)
    log_prob = standard_normal(dtype).log_prob(latents)
    assert log_prob.dtype == dtype
    density = np.exp(-(tf.cast(latents, "float64").numpy() ** 2) / 2) / np.sqrt(2 * np.pi)
    np.testing.assert_allclose(log_prob, np.log(density).sum(axis=1), rtol=tolerance)


def test_samples_of_the_standard_normal_prior_are_the_noise():
    with random.keyed(1, "train", 2):
        noise = random.normal((4, 3), "float64").numpy()
    with random.keyed(1, "train", 2):
        np.testing.assert_array_equal(standard_normal("float64").draw(4)[0], noise)
