"""The Laplace likelihood against its formula."""

import math

import numpy as np
import pytest
import tensorflow as tf

from vaeflow.layers import LaplaceLikelihood

GENERATOR = np.random.default_rng(0)
OUTPUTS = GENERATOR.normal(size=(3, 4, 2, 2))
IMAGES = GENERATOR.random((3, 4, 2, 2))


def built_for(likelihood, outputs=OUTPUTS):
    likelihood.build((None, *outputs.shape[1:]))
    return likelihood


@pytest.mark.parametrize("learned", ["no", "scalar"])
def test_laplace_takes_means(learned):
    likelihood = built_for(LaplaceLikelihood(0.25, learned, dtype="float64"))
    expected = (-np.abs(IMAGES - OUTPUTS) / 0.25 - np.log(2 * 0.25)).sum((1, 2, 3))
    np.testing.assert_allclose(
        likelihood.distribution(tf.constant(OUTPUTS)).log_prob(IMAGES), expected, rtol=1e-10
    )
    np.testing.assert_array_equal(likelihood(OUTPUTS), OUTPUTS)
    assert len(likelihood.trainable_variables) == (learned == "scalar")


def test_unnormalized_laplace_is_the_l1_loss_of_latent_diffusion():
    """With s = 0 and pixels in −1 … 1."""
    likelihood = built_for(LaplaceLikelihood(0.5, normalized=False, dtype="float64"))
    images, outputs = 2 * IMAGES - 1, 2 * OUTPUTS - 1
    expected = -np.abs(images - outputs).sum((1, 2, 3))
    np.testing.assert_allclose(
        likelihood.distribution(tf.constant(OUTPUTS)).log_prob(IMAGES), expected, rtol=1e-10
    )


@pytest.mark.parametrize("log_variance", [-1.3, 0.0, 0.8])
def test_the_log_variance_of_latent_diffusion_is_log_2b(log_variance):
    likelihood = built_for(LaplaceLikelihood(math.exp(log_variance) / 2, dtype="float64"))
    of_program = np.abs(2 * IMAGES - 2 * OUTPUTS) / np.exp(log_variance) + log_variance
    np.testing.assert_allclose(
        -likelihood.distribution(tf.constant(OUTPUTS)).log_prob(IMAGES),
        of_program.sum((1, 2, 3)),
        rtol=1e-10,
    )


@pytest.mark.parametrize(("factor", "sign"), [(0.9, -1), (1.0, 0), (1.1, 1)])
def test_a_learned_scale_has_no_gradient_at_the_mean_distance_alone(factor, sign):
    distance = np.mean(np.abs(IMAGES - OUTPUTS))
    likelihood = built_for(LaplaceLikelihood(factor * distance, "scalar", dtype="float64"))
    with tf.GradientTape() as tape:
        loss = -tf.reduce_mean(likelihood.distribution(tf.constant(OUTPUTS)).log_prob(IMAGES))
    (gradient,) = tape.gradient(loss, likelihood.trainable_variables)
    assert float(gradient) == pytest.approx(16 * (1 - 1 / factor), abs=1e-10)
    assert np.sign(np.round(float(gradient), 8)) == sign


@pytest.mark.parametrize("learned", ["no", "scalar"])
def test_laplace_scores_bfloat16_outputs_in_float32(learned):
    likelihood = built_for(LaplaceLikelihood(0.5, learned, dtype="mixed_bfloat16"))
    log_prob = likelihood.distribution(tf.cast(OUTPUTS, tf.bfloat16)).log_prob(IMAGES)
    assert log_prob.dtype == "float32"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"scale": 0.0}, "`LaplaceLikelihood.scale` must be a number above 0, got 0.0"),
        ({"learned": "per_pixel"}, "`LaplaceLikelihood.learned` must be one of 'no', 'scalar'"),
        ({"learned": "scalar", "normalized": False}, "`LaplaceLikelihood.normalized` must be True"),
    ],
)
def test_faulty_settings_of_a_laplace_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        LaplaceLikelihood(**arguments)
