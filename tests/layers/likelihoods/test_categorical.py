"""In which order the categorical likelihood reads a decoder's outputs."""

import numpy as np
import tensorflow as tf

from vaeflow.layers import CategoricalLikelihood


def test_the_logits_of_a_channel_follow_each_other():
    outputs = np.random.default_rng(0).normal(size=(2, 1, 3, 2 * 5))
    categorical = CategoricalLikelihood(5, dtype="float64").distribution(tf.constant(outputs))
    np.testing.assert_array_equal(categorical.logits[..., 0, :], outputs[..., :5])
    np.testing.assert_array_equal(categorical.logits[..., 1, :], outputs[..., 5:])
