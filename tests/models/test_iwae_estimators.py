"""The three gradients of an IWAE: their mean, their variance, and which variables they concern."""

import numpy as np
import pytest
import tensorflow as tf

from tests.fixtures import numpy_vae
from tests.fixtures.numpy_iwae import (
    BOUND,
    K,
    gradients,
    gradients_at_evidence,
    log_density,
    log_mean_exp,
    log_weights,
    noise,
    normalized,
    split_gradients,
    with_prior,
)
from tests.fixtures.small_objectives import NUM_LATENTS, images, make_model
from vaeflow import random
from vaeflow.layers import (
    DenseDecoder,
    DenseEncoder,
    GaussianLikelihood,
)
from vaeflow.models import IWAE, batches


def test_the_standard_gradient_is_that_of_the_bound_by_finite_differences():
    model = make_model(IWAE, num_samples=K)
    found = gradients(model, images())
    generator = np.random.default_rng(0)
    for variable, gradient in zip(model.trainable_variables, found):
        direction, values = generator.normal(size=variable.shape), []
        for step in (1e-5, -1e-5):
            variable.assign_add(step * direction)
            values.append(-log_mean_exp(log_weights(model, images(), noise())).mean())
            variable.assign_sub(step * direction)
        expected = (values[0] - values[1]) / 2e-5
        assert np.sum(gradient * direction) == pytest.approx(expected, rel=1e-6, abs=1e-8)


def gradient_through_latents(model, examples, power):
    """1/M Σ_mk ((1 − β) w̃_mk^power + β/K) ∂ log w_mk / ∂z_mk · ∂z_mk for mean and log variance.

    By finite differences at z; M · K is `numpy_iwae.K`.
    """
    epsilon = noise(num_examples=len(examples))
    rows = np.repeat(examples, K, axis=0)
    mean, log_variance, latents, _ = numpy_vae.forward(model, rows, epsilon)

    def log_weight(z):
        loss = numpy_vae.bernoulli_loss(model.decode(tf.constant(z)).logits.numpy(), rows)
        return log_density(z, 0.0, np.zeros_like(z)) - log_density(z, mean, log_variance) - loss

    slopes = np.zeros_like(latents)
    for unit, step in enumerate(1e-5 * np.eye(NUM_LATENTS)):
        slopes[:, unit] = (log_weight(latents + step) - log_weight(latents - step)) / 2e-5
    by_bound = log_weights(model, examples, epsilon).reshape(-1, model.num_samples)
    weights = (1 - model.elbo_weight) * normalized(by_bound) ** power + model.elbo_weight / model.num_samples
    weights = weights.reshape(-1, 1) / model.num_bounds
    of_log_variance = 0.5 * np.exp(0.5 * log_variance) * epsilon
    return [
        (weights * slopes * path).reshape(-1, K, NUM_LATENTS).sum(axis=1) for path in (1.0, of_log_variance)
    ]


@pytest.mark.slow
@pytest.mark.parametrize(("num_bounds", "elbo_weight"), [(1, 0.0), (2, 0.0), (2, 0.3)])
@pytest.mark.parametrize(("estimator", "power"), [("dreg", 2), ("stl", 1)])
def test_the_gradient_of_q_goes_through_the_latents_alone(estimator, power, num_bounds, elbo_weight):
    settings = {"num_bounds": num_bounds, "elbo_weight": elbo_weight}
    model = make_model(IWAE, num_samples=K // num_bounds, estimator=estimator, **settings)
    found = gradients_at_evidence(model, images())
    for one, expected in zip(found, gradient_through_latents(model, images(), power)):
        np.testing.assert_allclose(one, expected, rtol=1e-6, atol=1e-8)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("estimator", "prior"), [("stl", "standard normal"), ("dreg", "flow"), ("dreg", "vamp")]
)
def test_the_gradients_of_decoder_and_prior_are_the_standard_ones(estimator, prior):
    plain, other = (split_gradients(with_prior(prior, each), images()) for each in ("standard", estimator))
    for one, expected in zip(other[1], plain[1]):
        np.testing.assert_allclose(one, expected, rtol=1e-9, atol=1e-12)
    assert not any(np.allclose(one, expected, rtol=1e-3) for one, expected in zip(other[0], plain[0]))


@pytest.mark.slow
def test_what_a_prior_takes_from_the_encoder_keeps_the_standard_gradient():
    """Where z has no part: q's own paths are cut, and VampPrior still reaches the encoder."""
    found = []
    for estimator in ("standard", "dreg"):
        model = with_prior("vamp", estimator)
        batch = {"images": tf.constant(images())}
        evidence = [tf.stop_gradient(value) for value in model.infer(batch)]
        with random.keyed(0, "train", 7), tf.GradientTape() as tape:
            rows = batches.repeated((batch, evidence), K)
            bound = tf.reduce_mean(model.objective(model.forward_rows(*rows, 7, True, K), 7)[BOUND].value)
        found.append(tape.gradient(bound, model.encoder.blocks[1].kernel.value).numpy())
    np.testing.assert_allclose(found[1], found[0], rtol=1e-9)
    assert np.abs(found[0]).max() > 1e-3


@pytest.mark.slow
def test_dreg_has_the_mean_of_the_standard_gradient_and_less_variance():
    """From 4,000 draws of 8 samples: the means differ by less than five standard errors."""
    count = 4_000
    many = np.repeat(images(1), count, axis=0)
    draws = {}
    for estimator in ("standard", "dreg"):
        model = make_model(IWAE, num_samples=8, estimator=estimator)
        # Other noise for each, so that the errors are independent.
        first_position = 0 if estimator == "dreg" else count
        draws[estimator] = np.concatenate(gradients_at_evidence(model, many, first_position), axis=1)
    means, variances = (
        {name: how(values, axis=0) for name, values in draws.items()} for how in (np.mean, np.var)
    )
    error = np.sqrt((variances["standard"] + variances["dreg"]) / count)
    assert np.all(np.abs(means["dreg"] - means["standard"]) < 5 * error)
    # The mean is not lost in that error.
    assert np.max(np.abs(means["standard"]) / error) > 20
    assert variances["dreg"].sum() < 0.7 * variances["standard"].sum()


def exact_model(estimator):
    """x = W z + b + noise with orthogonal columns of W, and q(z|x) = p(z|x)."""
    scale, deviation = 0.7, 0.5
    model = IWAE(
        num_latents=2,
        num_samples=K,
        estimator=estimator,
        encoder=DenseEncoder((), dtype="float64"),
        decoder=DenseDecoder((), dtype="float64"),
        likelihood=GaussianLikelihood(deviation),
        dtype="float64",
    )
    model.build((None, 4, 3, 2))
    generator = np.random.default_rng(0)
    kernel = scale * np.linalg.qr(generator.normal(size=(24, 2)))[0].T
    bias = generator.normal(size=24)
    model.decoder.output_layer.kernel.assign(kernel)
    model.decoder.output_layer.bias.assign(bias)
    variance = 1 / (1 + scale**2 / deviation**2)
    model.posterior.mean.kernel.assign(variance / deviation**2 * kernel.T)
    model.posterior.mean.bias.assign(-variance / deviation**2 * kernel @ bias)
    model.posterior.log_variance.kernel.assign(np.zeros((24, 2)))
    model.posterior.log_variance.bias.assign(np.log([variance] * 2))
    return model


def test_stl_lands_on_the_exact_posterior_without_noise():
    models = {estimator: exact_model(estimator) for estimator in ("standard", "stl")}
    weights = models["stl"].forward(images(), num_samples=K).log_weight.numpy()
    np.testing.assert_allclose(weights, weights[:, :1] * np.ones(K), rtol=1e-10)  # All are p(x).
    largest = {
        estimator: max(np.abs(value).max() for value in split_gradients(model, images())[0])
        for estimator, model in models.items()
    }
    assert largest["stl"] < 1e-12
    assert largest["standard"] > 1e-2
