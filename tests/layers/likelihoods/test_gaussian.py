"""The Gaussian likelihood against its formula, and the value that a learned sigma reaches."""

import math

import keras
import numpy as np
import pytest
import tensorflow as tf

from vaeflow.layers import GaussianLikelihood

GENERATOR = np.random.default_rng(0)
OUTPUTS = GENERATOR.normal(size=(3, 4, 2, 2))
IMAGES = GENERATOR.random((3, 4, 2, 2))


def built_for(likelihood, outputs=OUTPUTS):
    likelihood.build((None, *outputs.shape[1:]))
    return likelihood


def gaussian_log_prob(mean, variance):
    return (-((IMAGES - mean) ** 2) / (2 * variance) - 0.5 * np.log(2 * np.pi * variance)).sum((1, 2, 3))


@pytest.mark.parametrize("learned", ["no", "scalar"])
@pytest.mark.parametrize("sigma", [1.0, 0.1])
def test_gaussian_takes_means(learned, sigma):
    likelihood = built_for(GaussianLikelihood(sigma, learned, dtype="float64"))
    log_prob = likelihood.distribution(tf.constant(OUTPUTS)).log_prob(IMAGES)
    np.testing.assert_allclose(log_prob, gaussian_log_prob(OUTPUTS, sigma**2), rtol=1e-10)
    np.testing.assert_array_equal(likelihood(OUTPUTS), OUTPUTS)
    assert len(likelihood.trainable_variables) == (learned == "scalar")


def test_gaussian_per_pixel_takes_means_then_log_variances():
    likelihood = GaussianLikelihood(0.5, "per_pixel", dtype="float64")
    assert likelihood.channels_per_channel == 2
    outputs = np.random.default_rng(1).normal(size=(3, 4, 2, 4))
    built_for(likelihood, outputs)
    variance = 0.25 * np.exp(outputs[..., 2:])  # An output of 0 gives the initial sigma.
    log_prob = likelihood.distribution(tf.constant(outputs)).log_prob(IMAGES)
    np.testing.assert_allclose(log_prob, gaussian_log_prob(outputs[..., :2], variance), rtol=1e-10)
    np.testing.assert_array_equal(likelihood(outputs), outputs[..., :2])


def test_unnormalized_gaussian_is_the_scaled_squared_error():
    likelihood = built_for(GaussianLikelihood(0.5, normalized=False, dtype="float64"))
    expected = -((IMAGES - OUTPUTS) ** 2).sum((1, 2, 3)) / (2 * 0.25)
    log_prob = likelihood.distribution(tf.constant(OUTPUTS)).log_prob(IMAGES)
    np.testing.assert_allclose(log_prob, expected, rtol=1e-10)


@pytest.mark.slow
def test_a_learned_sigma_reaches_the_mean_squared_error():
    """For a fixed mean the best σ² is the mean squared error (arXiv:2006.13202, section 4)."""
    likelihood = built_for(GaussianLikelihood(0.7, "scalar", dtype="float64"))
    optimizer = keras.optimizers.SGD(0.05)
    for _ in range(200):
        with tf.GradientTape() as tape:
            log_prob = likelihood.distribution(tf.constant(OUTPUTS)).log_prob(IMAGES)
            loss = -tf.reduce_mean(log_prob)
        optimizer.apply(tape.gradient(loss, likelihood.trainable_variables), likelihood.trainable_variables)
    error = np.mean((IMAGES - OUTPUTS) ** 2)
    assert math.exp(float(likelihood.log_variance)) == pytest.approx(error, rel=1e-9)
    # There the loss of a pixel is ½ log 2πe σ².
    assert float(loss) / 16 == pytest.approx(0.5 * math.log(2 * math.pi * math.e * error), rel=1e-9)


def test_sigma_per_pixel_reaches_each_pixels_squared_error():
    likelihood = built_for(GaussianLikelihood(1.0, "per_pixel", dtype="float64"), np.zeros((3, 4, 2, 4)))
    log_variance = tf.Variable(np.log((IMAGES - OUTPUTS) ** 2))
    with tf.GradientTape() as tape:
        outputs = tf.concat([OUTPUTS, log_variance], axis=-1)
        log_prob = likelihood.distribution(outputs).log_prob(IMAGES)
    np.testing.assert_allclose(tape.gradient(log_prob, log_variance), np.zeros_like(OUTPUTS), atol=1e-10)


@pytest.mark.parametrize("learned", ["no", "scalar", "per_pixel"])
def test_bfloat16_outputs_are_scored_in_float32(learned):
    likelihood = built_for(GaussianLikelihood(0.5, learned, dtype="mixed_bfloat16"))
    outputs = tf.cast(OUTPUTS if learned != "per_pixel" else np.tile(OUTPUTS, 2), tf.bfloat16)
    log_prob = likelihood.distribution(outputs).log_prob(IMAGES)
    assert log_prob.dtype == tf.float32
    mean = tf.cast(outputs, tf.float64).numpy()[..., :2]
    variance = 0.25 * (np.exp(mean) if learned == "per_pixel" else np.ones_like(mean))
    np.testing.assert_allclose(log_prob, gaussian_log_prob(mean, variance), rtol=0.02)
    assert all(variable.dtype == "float32" for variable in likelihood.variables)
    assert likelihood.distribution(outputs).sample(tf.ones(mean.shape, tf.bfloat16)).shape == mean.shape


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"sigma": 0.0}, "`GaussianLikelihood.sigma` must be a number above 0, got 0.0"),
        ({"learned": True}, "`GaussianLikelihood.learned` must be one of 'no', 'scalar', 'per_pixel'"),
        ({"learned": "scalar", "normalized": False}, "`GaussianLikelihood.normalized` must be True"),
    ],
)
def test_faulty_settings_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        GaussianLikelihood(**arguments)


def test_whether_a_density_is_normalized_is_a_boolean():
    with pytest.raises(ValueError, match=r"`GaussianLikelihood.normalized` must be True or False, got 1"):
        GaussianLikelihood(normalized=1)
