"""The uniform prior over codes, of section 3.1 of arXiv:1711.00937."""

import numpy as np
import pytest
import tensorflow as tf

from vaeflow import random
from vaeflow.distributions import UniformOverCodes
from vaeflow.errors import ConfigurationError
from vaeflow.layers import UniformCodes
from vaeflow.models import VAE


def uniform(num_codes=3, places=(4, 2)):
    return UniformOverCodes((num_codes,), places, lambda codes: tf.cast(codes, tf.float64))


def test_the_prior_draws_each_code_as_often_as_the_others():
    with random.keyed(1, "test", 0):
        value, log_prob = uniform().draw(4000)
    assert log_prob is None
    assert value.shape == (4000, 4, 2, 1)
    counts = np.bincount(value.numpy().astype(int).ravel(), minlength=3)
    # A binomial deviation of 84.
    np.testing.assert_allclose(counts, 32_000 / 3, atol=4 * 84)
    # At each place, of 30; and neighbours do not depend on one another.
    for row, column in np.ndindex(4, 2):
        counts = np.bincount(value[:, row, column, 0].numpy().astype(int))
        np.testing.assert_allclose(counts, 4000 / 3, atol=130)
    pairs = np.corrcoef(value.numpy().reshape(4000, 8).T) - np.eye(8)
    np.testing.assert_allclose(pairs, 0, atol=4 / np.sqrt(4000))


def test_the_codes_of_a_row_depend_on_its_position_only():
    with random.keyed(1, "test", 0):
        whole, _ = uniform(5).draw(6)
    with random.keyed(1, "test", 0, first_position=2):
        part, _ = uniform(5).draw(4)
        shared, _ = uniform(5).draw(4, shared=True)
    np.testing.assert_array_equal(part, whole[2:])
    with random.keyed(1, "test", 0):
        uniform(5).draw(4)
        np.testing.assert_array_equal(shared, uniform(5).draw(4)[0])


@pytest.mark.parametrize(("noise", "code"), [(0.0, 0), (1e-12, 0), (0.4999, 0), (0.5001, 1), (1.0, 1)])
def test_the_ends_of_the_noise_give_codes_that_exist(monkeypatch, noise, code):
    monkeypatch.setattr(random, "uniform", lambda shape, dtype, shared: tf.fill(shape, tf.cast(noise, dtype)))
    np.testing.assert_array_equal(uniform(2).draw(1)[0], np.full((1, 4, 2, 1), code))


def test_the_center_of_the_prior_is_one_of_its_codes_at_each_place():
    np.testing.assert_array_equal(uniform().center, np.zeros((4, 2, 1)))
    with pytest.raises(ValueError, match="UniformOverCodes has no rows of its own"):
        uniform().draw()


def test_uniform_codes_need_a_posterior_of_codes():
    model = VAE(3, prior=UniformCodes())
    model.build((None, 4, 4, 1))
    message = r"UniformCodes needs a posterior of codes, got GaussianPosterior; set `VAE.posterior`"
    with pytest.raises(ConfigurationError, match=message):
        model.sample(2)


def test_each_number_of_a_place_has_its_own_codes():
    prior = UniformOverCodes((2, 5), (3,), lambda codes: codes)
    with random.keyed(1, "test", 0):
        codes = prior.draw(2000)[0].numpy()
    assert codes.shape == (2000, 3, 2)
    assert [set(np.unique(codes[..., group])) for group in (0, 1)] == [{0, 1}, {0, 1, 2, 3, 4}]
    assert abs(np.corrcoef(codes.reshape(-1, 2).T)[0, 1]) < 4 / np.sqrt(6000)
