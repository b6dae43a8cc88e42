"""The inverse autoregressive flow: determinants, inverse, density and a NumPy twin."""

import math

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.fixtures import numpy_flows
from vaeflow import random
from vaeflow.layers import IAFPosterior
from vaeflow.layers.iaf_posterior import InverseAutoregressiveFlow

FEATURES = np.random.default_rng(0).normal(size=(4, 6))


def made(num_latents, num_flows=3, hidden_units=(7, 5), **arguments):
    """A posterior in float64, with weights that differ from where they start."""
    posterior = IAFPosterior(num_latents, num_flows, hidden_units, **{"dtype": "float64"} | arguments)
    posterior.build((None, 6))
    numpy_flows.perturb(posterior)
    return posterior


def draw(posterior, features=FEATURES):
    """A distribution, and the noise, value and log density of a draw from it."""
    distribution = posterior.distribution(posterior(features))
    with random.keyed(0, "train", 2):
        noise = random.normal((len(features), posterior.num_latents), "float64").numpy()
    with random.keyed(0, "train", 2):
        return distribution, noise, *distribution.draw()


@pytest.mark.parametrize(("num_latents", "activation"), [(1, "elu"), (2, "tanh"), (5, "elu")])
def test_a_draw_is_that_of_its_twin(num_latents, activation):
    posterior = made(num_latents, activation=activation)
    _, noise, value, log_prob = draw(posterior)
    expected, log_density = numpy_flows.iaf(posterior, FEATURES, noise)
    np.testing.assert_allclose(value, expected, rtol=1e-11, atol=1e-12)
    np.testing.assert_allclose(log_prob, log_density, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("num_latents", [1, 4])
def test_the_jacobian_is_triangular_in_an_order_that_turns_round_from_flow_to_flow(num_latents):
    distribution, _, value, _ = draw(made(num_latents))
    for number, flow in enumerate(distribution.flows):
        with tf.GradientTape(persistent=True) as tape:
            tape.watch(value)
            transformed, log_determinant = flow.forward(value)
        jacobian = tape.batch_jacobian(transformed, value, experimental_use_pfor=False).numpy()
        ones = np.ones_like(jacobian)
        np.testing.assert_array_equal(jacobian != 0, np.tril(ones) if number % 2 == 0 else np.triu(ones))
        np.testing.assert_allclose(log_determinant, np.linalg.slogdet(jacobian)[1], atol=1e-12)


@pytest.mark.parametrize("num_latents", [1, 5])
def test_the_inverse_finds_what_was_transformed(num_latents):
    distribution, _, value, log_prob = draw(made(num_latents))
    np.testing.assert_allclose(distribution.log_prob(value), log_prob, rtol=1e-9)
    for flow in distribution.flows:
        transformed, log_determinant = flow.forward(value)
        again, of_inverse = flow.inverse(transformed)
        np.testing.assert_allclose(again, value, rtol=1e-10, atol=1e-10)
        np.testing.assert_allclose(of_inverse, log_determinant, rtol=1e-10, atol=1e-10)


class Steep:
    """A net of three latents whose second gate overflows unless the first latent is about 1."""

    degrees = np.array([1, 2, 3])

    def __call__(self, value, context):
        kernel = np.array([[0.0, 800, 0], [0, 0, 1], [0, 0, 0]])
        return tf.zeros_like(value), tf.matmul(value, kernel) - np.array([0.0, 800, 0])


def test_latents_that_are_not_inverted_yet_do_not_spoil_the_others():
    """Where they are infinite, the mask of a net gives 0 · inf, which is not a number."""
    flow = InverseAutoregressiveFlow(Steep(), None, forget_bias=0.0)
    value = tf.constant([[1.0, 0.5, 0.3]], tf.float64)
    np.testing.assert_allclose(flow.inverse(flow.forward(value)[0])[0], value, rtol=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("num_latents", [1, 2])
def test_the_density_integrates_to_one(num_latents):
    posterior = made(num_latents, activation="tanh")
    axis, width = np.linspace(-12, 12, 401, retstep=True)
    grid = np.stack(np.meshgrid(*[axis] * num_latents), axis=-1).reshape(-1, num_latents)
    evidence = tuple(tf.repeat(each[:1], len(grid), axis=0) for each in posterior(FEATURES))
    log_prob = posterior.distribution(evidence).log_prob(grid)
    assert np.sum(np.exp(log_prob)) * width**num_latents == pytest.approx(1, abs=1e-9)


@pytest.mark.slow
def test_the_density_is_differentiable():
    distribution, _, value, _ = draw(made(3, activation="tanh"))
    with tf.GradientTape() as tape:
        tape.watch(value)
        log_prob = distribution.log_prob(value)
    gradient = tape.gradient(log_prob, value).numpy()
    step = 1e-5
    for latent in range(3):
        moved = [distribution.log_prob(value + sign * step * np.eye(3)[latent]) for sign in (1, -1)]
        np.testing.assert_allclose(gradient[:, latent], (moved[0] - moved[1]) / (2 * step), rtol=1e-6)


def test_the_center_is_where_the_mean_goes():
    posterior = made(3)
    expected, _ = numpy_flows.iaf(posterior, FEATURES, np.zeros((4, 3)))
    np.testing.assert_allclose(posterior.distribution(posterior(FEATURES)).center, expected, rtol=1e-11)


def test_at_the_start_a_flow_changes_the_latents_only_slightly():
    keras.utils.set_random_seed(0)
    posterior = IAFPosterior(8, 1, dtype="float64")
    posterior.build((None, 6))
    distribution, _, value, _ = draw(posterior)
    gate = np.exp(distribution.flows[0].forward(value)[1] / 8)
    np.testing.assert_allclose(gate, 1 / (1 + math.exp(-2)), atol=0.1)


def test_samples_of_one_image_are_repeated_rows_of_the_evidence():
    posterior = made(3)
    repeated = tuple(tf.repeat(each, 2, axis=0) for each in posterior(FEATURES))
    value = np.random.default_rng(1).normal(size=(8, 3))
    found = posterior.distribution(repeated).log_prob(value)
    for k in range(2):
        expected = posterior.distribution(posterior(FEATURES)).log_prob(value[k::2])
        np.testing.assert_allclose(found[k::2], expected, rtol=1e-12)


def test_it_computes_in_the_dtype_of_its_variables():
    keras.config.set_dtype_policy("mixed_bfloat16")
    posterior = IAFPosterior(3, hidden_units=(4,))
    distribution = posterior.distribution(posterior(FEATURES.astype("float32")))
    value, log_prob = distribution.draw()
    assert (value.dtype, log_prob.dtype, distribution.center.dtype) == (tf.float32,) * 3
    assert distribution.log_prob(tf.cast(value, tf.bfloat16)).dtype == tf.float32


def test_features_in_half_precision_give_a_density_in_full_precision():
    posterior = IAFPosterior(3, hidden_units=(4,), dtype="mixed_bfloat16")
    value, log_prob = posterior.distribution(posterior(FEATURES.astype("float32"))).draw()
    assert value.dtype == log_prob.dtype == tf.float32


@pytest.mark.parametrize(
    ("setting", "value"),
    [("num_flows", 0), ("hidden_units", (3, 0)), ("hidden_units", ()), ("forget_bias", "much")],
)
def test_a_faulty_setting_is_refused(setting, value):
    with pytest.raises(ValueError, match=f"`IAFPosterior.{setting}` must "):
        IAFPosterior(3, **{setting: value})


def test_an_unknown_activation_is_refused():
    with pytest.raises(ValueError, match="nonesuch"):
        IAFPosterior(3, activation="nonesuch")
