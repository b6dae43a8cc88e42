"""The Bernoulli likelihood against its formula."""

import numpy as np
import tensorflow as tf

from vaeflow.layers import BernoulliLikelihood

GENERATOR = np.random.default_rng(0)
OUTPUTS = GENERATOR.normal(size=(3, 4, 2, 2))
IMAGES = GENERATOR.random((3, 4, 2, 2))


def built_for(likelihood, outputs=OUTPUTS):
    likelihood.build((None, *outputs.shape[1:]))
    return likelihood


def test_bernoulli_takes_logits():
    likelihood = built_for(BernoulliLikelihood(dtype="float64"))
    probability = 1 / (1 + np.exp(-OUTPUTS))
    expected = (IMAGES * np.log(probability) + (1 - IMAGES) * np.log(1 - probability)).sum((1, 2, 3))
    log_prob = likelihood.distribution(tf.constant(OUTPUTS)).log_prob(IMAGES)
    np.testing.assert_allclose(log_prob, expected, rtol=1e-10)
    np.testing.assert_allclose(likelihood(OUTPUTS), probability, rtol=1e-10)
