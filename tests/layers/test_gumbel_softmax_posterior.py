"""The posterior of categorical latents: evidence, relaxation, codes and settings."""

import numpy as np
import pytest
import tensorflow as tf

from tests.fixtures import numpy_flows
from vaeflow.distributions import OneHotCategorical, RelaxedOneHotCategorical
from vaeflow.layers import GumbelSoftmaxPosterior
from vaeflow.schedules import ExponentialSchedule, LinearSchedule

FEATURES = np.random.default_rng(0).normal(size=(4, 6))


def made(**arguments):
    posterior = GumbelSoftmaxPosterior(3, num_categories=5, dtype="float64", **arguments)
    posterior.build((None, 6))
    numpy_flows.perturb(posterior)
    return posterior


def test_the_logits_are_linear_in_the_features():
    posterior = made()
    expected = numpy_flows.affine(posterior.logits, FEATURES).reshape(4, 3, 5)
    np.testing.assert_allclose(posterior(FEATURES), expected, rtol=1e-12)
    assert posterior.latents_shape((None, 6)) == (None, 15)


def test_it_is_relaxed_in_training_only():
    posterior = made(straight_through=True)
    assert isinstance(posterior.distribution(posterior(FEATURES)), OneHotCategorical)
    relaxed = posterior.distribution_in_training(posterior(FEATURES), 3)
    assert isinstance(relaxed, RelaxedOneHotCategorical)
    assert relaxed.straight_through


@pytest.mark.parametrize(("step", "expected"), [(0, 1.0), (50, np.sqrt(0.5)), (100, 0.5), (900, 0.5)])
def test_the_temperature_follows_its_schedule(step, expected):
    posterior = made(temperature=ExponentialSchedule(1.0, 0.5, 100))
    relaxed = posterior.distribution_in_training(posterior(FEATURES), step)
    assert float(relaxed.temperature) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("shape", [(7, 3), (7, 1, 1, 3)])
def test_codes_become_one_hot_vectors(shape):
    codes = np.random.default_rng(0).integers(0, 5, shape)
    expected = np.eye(5)[codes].reshape(7, 15)
    np.testing.assert_array_equal(made().embed_codes(tf.constant(codes, tf.int32)), expected)


@pytest.mark.parametrize(
    ("setting", "value"), [("num_categories", 0), ("temperature", 0.0), ("straight_through", 1)]
)
def test_a_faulty_setting_is_refused(setting, value):
    with pytest.raises(ValueError, match=f"`GumbelSoftmaxPosterior.{setting}` must be"):
        GumbelSoftmaxPosterior(3, **{setting: value})


def test_a_schedule_that_reaches_zero_is_refused():
    with pytest.raises(ValueError, match=r"`LinearSchedule.end` must be a number above 0, got 0.0"):
        GumbelSoftmaxPosterior(3, temperature=LinearSchedule(1.0, 0.0, 100))
