"""Neural spline flows as a posterior: a NumPy twin, determinants, inverse and density."""

import numpy as np
import pytest
import tensorflow as tf

from tests.fixtures import numpy_flows
from vaeflow import random
from vaeflow.errors import ConfigurationError
from vaeflow.layers import SplinePosterior
from vaeflow.models import VAE

FEATURES = np.random.default_rng(0).normal(size=(4, 6))
SIZES = [2, 5]


def made(num_latents, num_flows=3, perturbed=0.5):
    """A posterior in float64, with weights that differ from where they start."""
    posterior = SplinePosterior(num_latents, num_flows, (7, 5), num_bins=3, dtype="float64")
    posterior.build((None, 6))
    numpy_flows.perturb(posterior, perturbed)
    return posterior


def draw(posterior):
    """A distribution, and the noise, value and log density of a draw from it."""
    distribution = posterior.distribution(posterior(FEATURES))
    with random.keyed(0, "train", 2):
        noise = random.normal((len(FEATURES), posterior.num_latents), "float64").numpy()
    with random.keyed(0, "train", 2):
        return distribution, noise, *distribution.draw()


@pytest.mark.parametrize("num_latents", SIZES)
def test_a_draw_is_that_of_its_twin(num_latents):
    posterior = made(num_latents)
    _, noise, value, log_prob = draw(posterior)
    expected, log_density = numpy_flows.spline_coupled(posterior, FEATURES, noise)
    np.testing.assert_allclose(value, expected, rtol=1e-10, atol=1e-11)
    np.testing.assert_allclose(log_prob, log_density, rtol=1e-10, atol=1e-11)


def test_the_log_determinant_is_that_of_the_jacobian():
    distribution, _, value, _ = draw(made(3, num_flows=2))
    for flow in distribution.flows:
        with tf.GradientTape(persistent=True) as tape:
            tape.watch(value)
            transformed, log_determinant = flow.forward(value)
        jacobian = tape.batch_jacobian(transformed, value, experimental_use_pfor=False)
        np.testing.assert_allclose(log_determinant, np.linalg.slogdet(jacobian)[1], atol=1e-10)


@pytest.mark.slow
@pytest.mark.parametrize("num_latents", SIZES)
def test_the_inverse_finds_what_was_transformed(num_latents):
    distribution, _, value, log_prob = draw(made(num_latents))
    np.testing.assert_allclose(distribution.log_prob(value), log_prob, rtol=1e-9)
    for flow in distribution.flows:
        transformed, log_determinant = flow.forward(value)
        again, of_inverse = flow.inverse(transformed)
        np.testing.assert_allclose(again, value, atol=1e-9)
        np.testing.assert_allclose(of_inverse, log_determinant, atol=1e-8)


@pytest.mark.slow
def test_the_density_integrates_to_one():
    posterior = made(2, perturbed=0.2)  # Else it has narrow peaks between the points of the grid.
    axis, width = np.linspace(-7, 7, 281, retstep=True)
    grid = np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2)
    mean, log_variance, context = posterior(FEATURES)
    # A standard normal as base, so that the grid is wide and fine enough.
    evidence = [tf.repeat(each[:1], len(grid), axis=0) for each in (0 * mean, 0 * log_variance, context)]
    total = np.sum(np.exp(posterior.distribution(evidence).log_prob(grid))) * width**2
    assert total == pytest.approx(1, abs=1e-3)  # The ReLUs bend the density sharply.


def test_training_starts_at_the_gaussian():
    posterior = SplinePosterior(4, dtype="float64")
    posterior.build((None, 6))
    distribution, _, value, log_prob = draw(posterior)
    np.testing.assert_allclose(distribution.base.log_prob(value), log_prob, rtol=1e-12)


def test_an_image_has_flows_of_its_own():
    posterior = made(5)
    value = np.random.default_rng(1).normal(size=(1, 5)).repeat(4, axis=0)
    flows = posterior.distribution(posterior(FEATURES)).flows
    moved = np.concatenate([flow.forward(value)[0] for flow in flows], axis=1)
    assert len(np.unique(np.round(moved, 9), axis=0)) == 4


def test_samples_of_one_image_are_repeated_rows_of_the_evidence():
    posterior = made(3)
    repeated = tuple(tf.repeat(each, 2, axis=0) for each in posterior(FEATURES))
    value = np.random.default_rng(1).normal(size=(8, 3))
    found = posterior.distribution(repeated).log_prob(value)
    for k in range(2):
        expected = posterior.distribution(posterior(FEATURES)).log_prob(value[k::2])
        np.testing.assert_allclose(found[k::2], expected, rtol=1e-12)


def test_it_computes_in_the_dtype_of_its_variables():
    posterior = SplinePosterior(3, hidden_units=(4,), dtype="mixed_bfloat16")
    value, log_prob = posterior.distribution(posterior(FEATURES.astype("float32"))).draw()
    assert value.dtype == log_prob.dtype == tf.float32


def test_a_single_latent_is_refused():
    message = r"`SplinePosterior` needs latents \[B, D\] with D of 2 or more.*another posterior, such as"
    with pytest.raises(ConfigurationError, match=message):
        VAE(num_latents=1, posterior=SplinePosterior()).build((None, 4, 4, 1))


@pytest.mark.parametrize(
    ("setting", "value"),
    [("num_flows", 0), ("hidden_units", (3, 0)), ("hidden_units", ()), ("num_bins", 501), ("bound", 0.0)],
)
def test_a_faulty_setting_is_refused(setting, value):
    with pytest.raises(ValueError, match=f"`SplinePosterior.{setting}` must "):
        SplinePosterior(3, **{setting: value})
