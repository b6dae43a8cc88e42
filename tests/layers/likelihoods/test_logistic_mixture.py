"""In which order the logistic mixture reads a decoder's outputs."""

import numpy as np
import pytest
import tensorflow as tf

from vaeflow.layers import LogisticMixtureLikelihood

K = 4


def test_grey_images_have_logits_means_and_log_scales():
    outputs = np.arange(2 * 3 * 3 * K, dtype=np.float64).reshape(1, 2, 3, 3 * K)
    mixture = LogisticMixtureLikelihood(K, dtype="float64").distribution(tf.constant(outputs))
    np.testing.assert_array_equal(mixture.logits, outputs[..., :K])
    np.testing.assert_array_equal(mixture.means[..., 0, :], outputs[..., K : 2 * K])
    np.testing.assert_array_equal(mixture.log_scales[..., 0, :], outputs[..., 2 * K :])
    assert mixture.coefficients.shape == (1, 2, 3, 0, K)


def test_coloured_images_have_the_channels_one_after_the_other_and_coefficients():
    outputs = np.random.default_rng(0).normal(size=(2, 1, 2, 10 * K))
    mixture = LogisticMixtureLikelihood(K, dtype="float64").distribution(tf.constant(outputs))
    rows = outputs.reshape(2, 1, 2, 10, K)
    np.testing.assert_array_equal(mixture.logits, rows[..., 0, :])
    np.testing.assert_array_equal(mixture.means, rows[..., 1:4, :])
    np.testing.assert_array_equal(mixture.log_scales, rows[..., 4:7, :])
    np.testing.assert_allclose(mixture.coefficients, np.tanh(rows[..., 7:, :]), rtol=1e-14)


def test_the_number_of_components_must_be_positive():
    with pytest.raises(ValueError, match=r"`LogisticMixtureLikelihood.num_components` must be a positive"):
        LogisticMixtureLikelihood(0)
