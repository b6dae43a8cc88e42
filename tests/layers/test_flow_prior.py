"""The prior of couplings: determinants, inverse, density and a NumPy twin."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.fixtures import numpy_flows
from vaeflow import random
from vaeflow.errors import ConfigurationError
from vaeflow.layers import FlowPrior
from vaeflow.layers.flow_prior import COUPLINGS
from vaeflow.models import VAE

SIZES = [2, 5]


def made(num_latents, num_flows=3, hidden_units=(7, 5), coupling="affine"):
    """p(z) in float64, of weights that differ from where they start, and its block."""
    prior = FlowPrior(num_flows, hidden_units, coupling=coupling, dtype="float64")
    prior.build((None, num_latents))
    numpy_flows.perturb(prior)
    return prior, prior.distribution(None)


def values(num_latents, count=4):
    return np.random.default_rng(0).normal(size=(count, num_latents))


@pytest.mark.parametrize("num_latents", SIZES)
def test_a_draw_is_that_of_its_twin(num_latents):
    prior, distribution = made(num_latents)
    with random.keyed(0, "train", 2):
        noise = random.normal((5, num_latents), "float64").numpy()
    with random.keyed(0, "train", 2):
        value, log_prob = distribution.draw(5)
    expected, log_density = numpy_flows.coupled_draw(prior, noise)
    np.testing.assert_allclose(value, expected, rtol=1e-11, atol=1e-12)
    np.testing.assert_allclose(log_prob, log_density, rtol=1e-11)


@pytest.mark.parametrize("num_latents", SIZES)
def test_the_density_of_a_value_is_that_of_its_twin(num_latents):
    prior, distribution = made(num_latents)
    expected = numpy_flows.coupled_log_prob(prior, values(num_latents))
    np.testing.assert_allclose(distribution.log_prob(values(num_latents)), expected, rtol=1e-11)


@pytest.mark.parametrize("num_latents", SIZES)
def test_the_log_determinant_is_that_of_the_jacobian(num_latents):
    value = tf.constant(values(num_latents))
    for flow in made(num_latents)[1].flows:
        with tf.GradientTape(persistent=True) as tape:
            tape.watch(value)
            transformed, log_determinant = flow.forward(value)
        jacobian = tape.batch_jacobian(transformed, value, experimental_use_pfor=False)
        np.testing.assert_allclose(log_determinant, np.linalg.slogdet(jacobian)[1], atol=1e-12)


@pytest.mark.parametrize(("num_latents", "coupling"), [(2, "affine"), (5, "affine"), (5, "spline")])
def test_the_inverse_finds_what_was_transformed(num_latents, coupling):
    _, distribution = made(num_latents, coupling=coupling)
    value, log_prob = distribution.draw(4)
    np.testing.assert_allclose(distribution.log_prob(value), log_prob, rtol=1e-10)
    for flow in distribution.flows:
        transformed, log_determinant = flow.forward(value)
        again, of_inverse = flow.inverse(transformed)
        np.testing.assert_allclose(again, value, rtol=1e-11, atol=1e-11)
        np.testing.assert_allclose(of_inverse, log_determinant, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("num_latents", SIZES)
def test_two_couplings_move_every_latent(num_latents):
    _, distribution = made(num_latents, num_flows=2)
    value = moved = tf.constant(values(num_latents))
    for flow in distribution.flows:
        moved, _ = flow.forward(moved)
    assert np.all(moved != value)


def test_the_density_integrates_to_one():
    axis, width = np.linspace(-12, 12, 401, retstep=True)
    grid = np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2)
    total = np.sum(np.exp(made(2)[1].log_prob(grid))) * width**2
    assert total == pytest.approx(1, abs=1e-5)  # The ReLUs bend the density sharply.


@pytest.mark.parametrize("coupling", COUPLINGS)
def test_training_starts_at_the_standard_normal(coupling):
    prior = FlowPrior(coupling=coupling, dtype="float64")
    prior.build((None, 6))
    distribution = prior.distribution(None)
    expected = numpy_flows.standard_normal(values(6))
    np.testing.assert_allclose(distribution.log_prob(values(6)), expected, rtol=1e-12)


def test_the_center_is_where_the_mean_goes():
    prior, distribution = made(3)
    expected, _ = numpy_flows.coupled_draw(prior, np.zeros((1, 3)))
    np.testing.assert_allclose(distribution.center, expected[0], rtol=1e-11)


def test_it_computes_in_the_dtype_of_its_variables():
    keras.config.set_dtype_policy("mixed_bfloat16")
    prior = FlowPrior(hidden_units=(4,))
    prior.build((None, 4))
    value, log_prob = prior.distribution(None).draw(3)
    assert value.dtype == log_prob.dtype == tf.float32
    assert {layer.compute_dtype for layer in prior._flatten_layers()} == {"float32"}


def test_a_single_latent_is_refused():
    with pytest.raises(ConfigurationError, match=r"`FlowPrior` needs latents \[B, D\] with D of 2 or more"):
        VAE(num_latents=1, prior=FlowPrior()).build((None, 4, 4, 1))


@pytest.mark.parametrize(
    ("setting", "value"),
    [("num_flows", 0), ("hidden_units", (3, 0)), ("coupling", "linear"), ("num_bins", 0), ("bound", -1.0)],
)
def test_a_faulty_setting_is_refused(setting, value):
    with pytest.raises(ValueError, match=f"`FlowPrior.{setting}` must "):
        FlowPrior(**{setting: value})
