"""The differentiable estimates against the NumPy oracle, in one part and in several."""

import numpy as np
import pytest
import tensorflow as tf

from tests.fixtures import numpy_divergences
from vaeflow.distributions import Gaussian
from vaeflow.errors import ConfigurationError
from vaeflow.models import minibatch_divergences

B, D, N = 12, 3, 500


def batch(size=B, num_latents=D, seed=0):
    """Mean, log variance and one draw of the latents, `[B, D]`."""
    mean, log_variance, noise = np.random.default_rng(seed).normal(size=(3, size, num_latents))
    return mean, log_variance, mean + np.exp(0.5 * log_variance) * noise


def log_aggregate_posterior(mean, log_variance, latents, estimator, rows=None, num_examples=N):
    rows = np.arange(len(latents)) if rows is None else rows
    posteriors = Gaussian(tf.constant(mean[None]), tf.constant(log_variance[None]))
    log_densities = posteriors.log_prob_per_dimension(tf.constant(latents[rows][:, None]))
    positions = tf.constant(rows, tf.int32)
    return minibatch_divergences.log_aggregate_posterior(log_densities, positions, num_examples, estimator)


@pytest.mark.parametrize("estimator", minibatch_divergences.ESTIMATORS)
@pytest.mark.parametrize("size", [2, B, 31])
@pytest.mark.parametrize("num_examples", [31, N, 737_280])
def test_the_aggregate_posterior(estimator, size, num_examples):
    mean, log_variance, latents = batch(size)
    log_joint, log_product = log_aggregate_posterior(
        mean, log_variance, latents, estimator, num_examples=num_examples
    )
    expected, marginals = numpy_divergences.aggregate_log_densities(
        latents, mean, log_variance, num_examples, estimator
    )
    np.testing.assert_allclose(log_joint, expected, rtol=1e-10)
    np.testing.assert_allclose(log_product, marginals.sum(axis=1), rtol=1e-10)


@pytest.mark.parametrize("estimator", minibatch_divergences.ESTIMATORS)
def test_the_parts_of_a_batch_have_their_rows_of_the_whole(estimator):
    whole = log_aggregate_posterior(*batch(), estimator)
    for rows in (np.arange(5), np.arange(5, 12), np.array([7, 2])):
        for part, all_rows in zip(log_aggregate_posterior(*batch(), estimator, rows), whole):
            np.testing.assert_allclose(part, all_rows.numpy()[rows], rtol=1e-12)


@pytest.mark.parametrize("estimator", minibatch_divergences.ESTIMATORS)
def test_one_example_alone_is_refused(estimator):
    with pytest.raises(
        ConfigurationError, match=r"needs at least 2 of them, got 1; raise `train.batch_size`"
    ):
        log_aggregate_posterior(*batch(1), estimator)


def test_far_latents_do_not_underflow():
    mean = np.linspace(0, 1e4, 6)[:, None] * np.ones(D)
    log_joint, log_product = log_aggregate_posterior(mean, np.full_like(mean, -20.0), mean, "mss")
    own = D * (10 - 0.5 * np.log(2 * np.pi))
    np.testing.assert_allclose(log_joint, np.full(6, own - np.log(N)), rtol=1e-12)
    np.testing.assert_allclose(log_product, np.full(6, own - D * np.log(N)), rtol=1e-12)


def estimate(samples, others, kernel, rows=None, dtype="float64"):
    rows = np.arange(len(samples)) if rows is None else rows
    samples, others = tf.constant(samples, dtype), tf.constant(others, dtype)
    return minibatch_divergences.mmd(samples, others, tf.constant(rows, tf.int32), kernel).numpy()


@pytest.mark.parametrize("kernel", minibatch_divergences.KERNELS)
@pytest.mark.parametrize("shape", [(2, 1), (B, D), (40, 10)])
def test_mmd(kernel, shape):
    samples, others = np.random.default_rng(0).normal(size=(2, *shape))
    values = estimate(samples + 0.5, others, kernel)
    expected = numpy_divergences.mmd(samples + 0.5, others, kernel)
    assert values.mean() == pytest.approx(expected, rel=1e-10, abs=1e-13)


@pytest.mark.parametrize("kernel", minibatch_divergences.KERNELS)
def test_mmd_of_the_parts_of_a_batch(kernel):
    samples, others = np.random.default_rng(0).normal(size=(2, B, D))
    whole = estimate(samples, others, kernel)
    for rows in (np.arange(5), np.arange(5, 12)):
        np.testing.assert_allclose(estimate(samples, others, kernel, rows), whole[rows], rtol=1e-12)


@pytest.mark.families
@pytest.mark.parametrize("kernel", minibatch_divergences.KERNELS)
def test_mmd_of_one_law_is_0_and_of_shifted_laws_is_not(kernel):
    """In the mean: one estimate may be negative."""
    generator = np.random.default_rng(1)
    same, shifted = [], []
    for _ in range(100):
        samples, others = generator.normal(size=(2, 16, 4))
        same.append(estimate(samples, others, kernel).mean())
        shifted.append(estimate(samples + 0.8, others, kernel).mean())
    error = np.std(same) / np.sqrt(100)
    assert abs(np.mean(same)) < 3 * error
    assert min(same) < 0
    assert np.mean(shifted) > 10 * error


@pytest.mark.parametrize("kernel", minibatch_divergences.KERNELS)
def test_mmd_in_single_precision_does_not_cancel(kernel):
    """Latents far from 0 but near one another, as at the start of a training."""
    samples, others = 1e3 + np.random.default_rng(0).normal(size=(2, B, D)).astype(np.float32)
    expected = numpy_divergences.mmd(samples.astype(np.float64), others.astype(np.float64), kernel)
    assert estimate(samples, others, kernel, dtype="float32").mean() == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("kernel", minibatch_divergences.KERNELS)
def test_the_gradient_of_mmd_by_finite_differences(kernel):
    samples, others = np.random.default_rng(0).normal(size=(2, 5, 2))
    variable = tf.Variable(samples)
    with tf.GradientTape() as tape:
        values = minibatch_divergences.mmd(
            tf.convert_to_tensor(variable), tf.constant(others), tf.range(5), kernel
        )
        mean = tf.reduce_mean(values)
    gradient = tf.convert_to_tensor(tape.gradient(mean, variable)).numpy()
    for place in [(0, 0), (3, 1)]:
        shift = np.zeros((5, 2))
        shift[place] = 1e-5
        one, other = (numpy_divergences.mmd(samples + sign * shift, others, kernel) for sign in (1, -1))
        assert gradient[place] == pytest.approx((one - other) / 2e-5, rel=1e-6)


def test_one_sample_alone_is_refused_where_it_is_known():
    samples, others = np.random.default_rng(0).normal(size=(2, 1, D))
    with pytest.raises(ConfigurationError, match="needs at least 2 of them, got 1"):
        estimate(samples, others, "imq")

    # `evaluate` may meet a last batch of one example: there are no two to compare.
    @tf.function(input_signature=[tf.TensorSpec((None, D), tf.float64)] * 2)
    def of_any_size(samples, others):
        return minibatch_divergences.mmd(samples, others, tf.range(tf.shape(samples)[0]), "imq")

    expected = -2 * numpy_divergences.kernel_values(samples, others, "imq")[0, 0]
    assert float(of_any_size(samples, others)[0]) == pytest.approx(expected, rel=1e-12)
