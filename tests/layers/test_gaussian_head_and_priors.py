"""From features to latents: the head, the draw and the prior."""

import numpy as np
import pytest
import tensorflow as tf

from vaeflow import random
from vaeflow.distributions import Gaussian
from vaeflow.layers import GaussianHead, Sampling, StandardNormalPrior


def test_the_head_is_two_affine_maps():
    head = GaussianHead(3, dtype="float64")
    features = np.random.default_rng(0).normal(size=(4, 5))
    mean, log_variance = head(features)
    mean_kernel, mean_bias, kernel, bias = head.get_weights()
    np.testing.assert_allclose(mean, features @ mean_kernel + mean_bias, atol=1e-13)
    np.testing.assert_allclose(log_variance, features @ kernel + bias, atol=1e-13)


def test_the_gradients_of_the_head_are_those_of_two_layers():
    head = GaussianHead(3, dtype="float64")
    rng = np.random.default_rng(0)
    features, of_mean, of_log_variance = rng.normal(size=(4, 5)), *rng.normal(size=(2, 4, 3))
    with tf.GradientTape() as tape:
        mean, log_variance = head(features)
        loss = tf.reduce_sum(of_mean * mean) + tf.reduce_sum(of_log_variance * log_variance)
    gradients = tape.gradient(loss, [weight.value for weight in head.trainable_variables])
    expected = [features.T @ of_mean, of_mean.sum(0), features.T @ of_log_variance, of_log_variance.sum(0)]
    for ours, exact in zip(gradients, expected, strict=True):
        np.testing.assert_allclose(ours, exact, atol=1e-13)


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_the_head_computes_in_the_precision_of_its_policy(policy):
    mean, log_variance = GaussianHead(3, dtype=policy)(np.ones((4, 5), "float32"))
    assert mean.dtype == log_variance.dtype == policy.removeprefix("mixed_")


@pytest.mark.parametrize("num_latents", [0, -3, 2.0, None, True])
def test_the_number_of_latents_must_be_positive(num_latents):
    with pytest.raises(ValueError, match=r"`GaussianHead.num_latents` must be a positive integer, got"):
        GaussianHead(num_latents)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("given", ["argument", "before it is built"])
def test_a_head_with_a_constant_log_variance_has_one_layer(dtype, given):
    head = GaussianHead(3, -7.5 if given == "argument" else None, dtype=dtype)
    head.constant_log_variance = -7.5
    features = np.random.default_rng(0).normal(size=(4, 5))
    mean, log_variance = head(features)
    kernel, bias = head.get_weights()
    np.testing.assert_allclose(mean, features @ kernel + bias, atol=1e-5)
    np.testing.assert_array_equal(log_variance, np.full((4, 3), -7.5))
    assert log_variance.dtype == mean.dtype == dtype


def test_sampling_scales_and_shifts_the_noise_of_its_key():
    mean, log_variance = np.random.default_rng(0).normal(size=(2, 4, 3))
    with random.keyed(1, "train", 2):
        noise = random.normal((4, 3), "float64").numpy()
    with random.keyed(1, "train", 2):
        sample = Sampling(dtype="float64")(tf.constant(mean), tf.constant(log_variance))
    np.testing.assert_allclose(sample, mean + np.exp(log_variance / 2) * noise, atol=1e-13)


def test_sampling_is_differentiable():
    mean = tf.Variable(np.zeros((2, 3)))
    log_variance = tf.Variable(np.full((2, 3), 0.8))
    with tf.GradientTape() as tape, random.keyed(1, "train", 2):
        sample = Sampling(dtype="float64")(tf.convert_to_tensor(mean), tf.convert_to_tensor(log_variance))
    by_mean, by_log_variance = tape.gradient(sample, [mean, log_variance])
    np.testing.assert_allclose(by_mean, np.ones((2, 3)))
    np.testing.assert_allclose(by_log_variance, sample / 2)  # d/dl exp(l/2) ε = ½ exp(l/2) ε.


def test_kl_to_the_standard_normal_prior():
    mean, log_variance = np.random.default_rng(0).normal(size=(2, 4, 3))
    posterior = Gaussian(tf.constant(mean), tf.constant(log_variance))
    expected = 0.5 * (mean**2 + np.exp(log_variance) - log_variance - 1)
    prior = StandardNormalPrior()
    np.testing.assert_allclose(prior.kl_per_dimension(posterior, None), expected, rtol=1e-12)
    np.testing.assert_allclose(prior.kl(posterior, None), expected.sum(axis=1), rtol=1e-12)


def test_the_posterior_that_is_the_prior_costs_nothing():
    posterior = Gaussian(tf.zeros((4, 3)), tf.zeros((4, 3)))
    np.testing.assert_array_equal(StandardNormalPrior().kl(posterior, None), np.zeros(4))


@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-12), ("float32", 1e-6), ("bfloat16", 1e-6)])
def test_the_log_density_of_the_standard_normal_prior(dtype, tolerance):
    latents = tf.cast(np.random.default_rng(0).normal(size=(4, 3)), dtype)
    log_prob = StandardNormalPrior().log_prob(latents)
    assert log_prob.dtype == ("float64" if dtype == "float64" else "float32")
    density = np.exp(-(tf.cast(latents, "float64").numpy() ** 2) / 2) / np.sqrt(2 * np.pi)
    np.testing.assert_allclose(log_prob, np.log(density).sum(axis=1), rtol=tolerance)


def test_prior_samples_are_the_noise():
    noise = np.random.default_rng(0).normal(size=(4, 3))
    np.testing.assert_array_equal(StandardNormalPrior().sample(noise), noise)
