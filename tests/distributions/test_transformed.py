"""A transformed Gaussian whose density is known: the log-normal."""

import numpy as np
import tensorflow as tf

from vaeflow import random
from vaeflow.distributions import Gaussian, Transformed, closed_kl, has_density

MEAN, LOG_VARIANCE = np.random.default_rng(0).normal(size=(2, 4, 3))


class Exponential:
    """u ↦ exp(u), elementwise: makes a log-normal of a Gaussian."""

    def forward(self, value):
        return tf.exp(value), tf.reduce_sum(value, axis=1)

    def inverse(self, value):
        return tf.math.log(value), tf.reduce_sum(tf.math.log(value), axis=1)


class Doubled:
    """u ↦ 2 u."""

    def forward(self, value):
        return 2 * value, tf.fill(tf.shape(value)[:1], tf.constant(3 * np.log(2), value.dtype))

    def inverse(self, value):
        return value / 2, self.forward(value)[1]


def log_normal(flows):
    return Transformed(Gaussian(tf.constant(MEAN), tf.constant(LOG_VARIANCE)), flows)


def log_density(value):
    """Of 2 exp(u): the density of a log-normal (Johnson et al. 1994, Eq. 14.2), with a scale."""
    logs = np.log(value / 2)
    gaussian = -((logs - MEAN) ** 2) / (2 * np.exp(LOG_VARIANCE)) - 0.5 * (np.log(2 * np.pi) + LOG_VARIANCE)
    return np.sum(gaussian - np.log(value), axis=1)


def test_the_density_of_a_value_is_that_of_the_log_normal():
    value = np.exp(np.random.default_rng(1).normal(size=(4, 3)))
    found = log_normal([Exponential(), Doubled()]).log_prob(tf.constant(value))
    np.testing.assert_allclose(found, log_density(value), rtol=1e-12)


def test_a_draw_comes_with_its_density():
    with random.keyed(0, "train", 2):
        value, log_prob = log_normal([Exponential(), Doubled()]).draw()
    with random.keyed(0, "train", 2):
        noise = random.normal((4, 3), "float64").numpy()
    np.testing.assert_allclose(value, 2 * np.exp(MEAN + np.exp(LOG_VARIANCE / 2) * noise), rtol=1e-12)
    np.testing.assert_allclose(log_prob, log_density(value.numpy()), rtol=1e-12)


def test_the_center_is_where_the_mean_of_the_base_goes():
    np.testing.assert_allclose(log_normal([Exponential()]).center, np.exp(MEAN), rtol=1e-12)


def test_a_prior_has_a_center_without_rows_and_draws_any_number_of_them():
    zeros = tf.zeros(3, tf.float64)
    prior = Transformed(Gaussian(zeros, zeros), [Exponential(), Doubled()])
    np.testing.assert_allclose(prior.center, np.full(3, 2.0))
    with random.keyed(0, "train", 2):
        value, log_prob = prior.draw(5)
    with random.keyed(0, "train", 2):
        noise = random.normal((5, 3), "float64").numpy()
    np.testing.assert_allclose(value, 2 * np.exp(noise), rtol=1e-12)
    assert log_prob.shape == (5,)


def test_without_flows_it_is_the_base():
    value = np.random.default_rng(1).normal(size=(4, 3))
    np.testing.assert_array_equal(log_normal([]).log_prob(value), log_normal([]).base.log_prob(value))


def test_its_parameters_are_not_taken_for_those_of_a_gaussian():
    assert set(log_normal([]).parameters) == {"base_mean", "base_log_variance"}


def test_it_has_a_density_but_no_closed_kl():
    zeros = tf.zeros(3, tf.float64)
    assert has_density(log_normal([]))
    assert closed_kl(log_normal([]), Gaussian(zeros, zeros)) is None
    assert closed_kl(log_normal([]).base, Transformed(Gaussian(zeros, zeros), [])) is None


def test_a_temperature_multiplies_the_deviation_of_the_base():
    with random.keyed(0, "train", 2):
        value, log_prob = log_normal([Exponential()]).tempered(0.5).draw()
    with random.keyed(0, "train", 2):
        noise = random.normal((4, 3), "float64").numpy()
    np.testing.assert_allclose(value, np.exp(MEAN + 0.5 * np.exp(LOG_VARIANCE / 2) * noise), rtol=1e-12)
    np.testing.assert_allclose(log_normal([Exponential()]).tempered(0.5).log_prob(value), log_prob, rtol=1e-9)
