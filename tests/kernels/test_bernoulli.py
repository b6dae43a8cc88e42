"""The log probability of Bernoulli pixels: value, gradient and precision."""

import numpy as np
import pytest
import tensorflow as tf

from vaeflow.kernels.bernoulli import bernoulli_log_prob


def summed_cross_entropy(value, logits):
    """Computes `[B]` as the kernel does, by TensorFlow's plain operation."""
    terms = tf.nn.sigmoid_cross_entropy_with_logits(labels=value, logits=logits)
    return -tf.reduce_sum(terms, axis=list(range(1, logits.shape.rank)))


@pytest.mark.parametrize("shape", [(4, 4, 3), (37,), (1,)])
def test_it_equals_the_summed_cross_entropy(shape):
    generator = np.random.default_rng(0)
    value = tf.constant(generator.random((5, *shape)))
    logits = tf.constant(generator.normal(scale=5.0, size=(5, *shape)))
    np.testing.assert_allclose(
        bernoulli_log_prob(value, logits), summed_cross_entropy(value, logits), rtol=1e-12
    )


def test_its_gradient_is_that_of_finite_differences():
    logits = tf.constant([[-30.0, -2.0, 0.3, 1.5, 40.0]], tf.float64)
    value = tf.constant([[0.2, 1.0, 0.0, 0.7, 1.0]], tf.float64)
    theory, numeric = tf.test.compute_gradient(bernoulli_log_prob, [value, logits])
    for ours, expected in zip(theory, numeric, strict=True):
        np.testing.assert_allclose(ours, expected, atol=1e-7)


@pytest.mark.parametrize("shape", [(64, 64, 3), (28, 28, 1), (37,)])
@pytest.mark.parametrize("scale", [0.01, 3.0, 20.0])
def test_the_log_prob_of_an_image_is_as_precise_as_its_float32(shape, scale):
    rng = np.random.default_rng(0)
    logits = (scale * rng.standard_normal((5, *shape))).astype("float32")
    value = rng.random((5, *shape)).astype("float32")
    exact = logits.astype(float)
    expected = (value * exact - np.logaddexp(0.0, exact)).reshape(5, -1).sum(1)
    np.testing.assert_allclose(bernoulli_log_prob(value, tf.constant(logits)), expected, rtol=1e-6)


def test_the_log_prob_of_almost_certain_pixels():
    # Black pixels of which the decoder is sure: each term is below float32's unit roundoff or near it.
    logits = np.repeat(np.float32([[-20.0], [-17.0], [-14.0], [-10.0]]), 784, axis=1)
    expected = -784 * np.log1p(np.exp(logits[:, 0].astype(float)))
    log_prob = bernoulli_log_prob(np.zeros_like(logits), tf.constant(logits))
    np.testing.assert_allclose(log_prob, expected, atol=784 * 2.0**-24)
