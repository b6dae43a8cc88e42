"""The NumPy oracles' terms: against loops, closed forms and exact enumeration."""

import itertools
import math

import numpy as np
import pytest

from tests.fixtures import numpy_divergences as divergences

B, D, N = 6, 3, 50


def batch(batch_size=B, num_latents=D, seed=0):
    """Mean, log variance and one draw of the latents."""
    generator = np.random.default_rng(seed)
    mean, log_variance, noise = (generator.normal(size=(batch_size, num_latents)) for _ in range(3))
    return mean, log_variance, mean + np.exp(0.5 * log_variance) * noise


def density(value, mean, variance):
    return math.exp(-((value - mean) ** 2) / (2 * variance)) / math.sqrt(2 * math.pi * variance)


def discriminator(units=(D, 7, 5, 1), scale=1.0, seed=3):
    generator = np.random.default_rng(seed)
    shapes = itertools.pairwise(units)
    return [
        (scale * generator.normal(size=shape), scale * generator.normal(size=shape[1])) for shape in shapes
    ]


def permutations(batch_size, num_latents=D, seed=4):
    generator = np.random.default_rng(seed)
    return [generator.permutation(batch_size) for _ in range(num_latents)]


def test_kl_is_the_integral_that_defines_it():
    mean, log_variance, _ = batch()
    grid = np.linspace(-25.0, 25.0, 200_001)
    kl = divergences.kl_per_dimension(mean, log_variance)
    for i, d in itertools.product(range(B), range(D)):
        log_q = -0.5 * ((grid - mean[i, d]) ** 2 / np.exp(log_variance[i, d]) + log_variance[i, d])
        integral = np.trapezoid(np.exp(log_q) / np.sqrt(2 * np.pi) * (log_q + 0.5 * grid**2), grid)
        np.testing.assert_allclose(kl[i, d], integral, rtol=1e-9)
    np.testing.assert_allclose(
        divergences.kl_per_example(mean, log_variance), [sum(row) for row in kl.tolist()], rtol=1e-14
    )
    assert divergences.kl_per_dimension(np.zeros((1, 1)), np.zeros((1, 1))) == 0


@pytest.mark.parametrize(("batch_size", "num_examples"), [(2, 2), (2, 100), (6, 50), (6, 6)])
def test_stratified_weights_are_those_of_the_paper(batch_size, num_examples):
    weights = divergences.stratified_weights(batch_size, num_examples)
    np.testing.assert_allclose(weights.sum(axis=1), 1.0, rtol=1e-14)
    np.testing.assert_allclose(np.diag(weights), 1.0 / num_examples)
    special = (num_examples - batch_size + 1) / (num_examples * (batch_size - 1))
    for i, j in itertools.permutations(range(batch_size), 2):
        expected = special if j == (i + 1) % batch_size else 1 / (batch_size - 1)
        np.testing.assert_allclose(weights[i, j], expected, rtol=1e-14)


@pytest.mark.parametrize("batch_size", [2, 3, 5])
def test_stratified_sampling_is_unbiased_over_every_minibatch(batch_size):
    """The mean over all ordered batches that contain n* is q(z), exactly; weighted sampling's is not.

    One batch that is the whole training set does not give q(z): the weights depend on the order.
    """
    num_examples = 5
    mean, log_variance, latents = batch(num_examples, 2)
    draw = latents[0]
    exact_joint = np.mean(
        [
            math.prod(density(draw[d], mean[n, d], math.exp(log_variance[n, d])) for d in range(2))
            for n in range(num_examples)
        ]
    )
    exact_marginals = [
        np.mean([density(draw[d], mean[n, d], math.exp(log_variance[n, d])) for n in range(num_examples)])
        for d in range(2)
    ]
    averages = {}
    for estimator in ("mws", "mss"):
        joint, marginals = [], []
        for others in itertools.permutations(range(1, num_examples), batch_size - 1):
            rows = [0, *others]
            log_joint, log_marginals = divergences.aggregate_log_densities(
                latents[rows], mean[rows], log_variance[rows], num_examples, estimator
            )
            joint.append(np.exp(log_joint[0]))
            marginals.append(np.exp(log_marginals[0]))
        averages[estimator] = np.mean(joint), np.mean(marginals, axis=0)
    np.testing.assert_allclose(averages["mss"][0], exact_joint, rtol=1e-13)
    np.testing.assert_allclose(averages["mss"][1], exact_marginals, rtol=1e-13)
    assert abs(averages["mws"][0] / exact_joint - 1) > 0.05
    assert np.std(joint) > 0.01 * exact_joint


@pytest.mark.parametrize("estimator", ["mws", "mss"])
def test_the_decomposition_by_loops(estimator):
    mean, log_variance, latents = batch()
    weight = {
        "mws": lambda i, j: 1 / (N * B),
        "mss": lambda i, j: {0: 1 / N, 1: (N - B + 1) / (N * (B - 1))}.get((j - i) % B, 1 / (B - 1)),
    }[estimator]
    sums = dict.fromkeys(("mutual_information", "total_correlation", "dimension_wise_kl"), 0.0)
    for i in range(B):
        q = [
            [density(latents[i, d], mean[j, d], math.exp(log_variance[j, d])) for d in range(D)]
            for j in range(B)
        ]
        log_joint = math.log(sum(weight(i, j) * math.prod(q[j]) for j in range(B)))
        log_product = sum(math.log(sum(weight(i, j) * q[j][d] for j in range(B))) for d in range(D))
        sums["mutual_information"] += math.log(math.prod(q[i])) - log_joint
        sums["total_correlation"] += log_joint - log_product
        sums["dimension_wise_kl"] += log_product - sum(math.log(density(z, 0, 1)) for z in latents[i])
    terms = divergences.kl_decomposition(latents, mean, log_variance, N, estimator)
    assert terms.keys() == sums.keys()
    for name, total in sums.items():
        np.testing.assert_allclose(terms[name], total / B, rtol=1e-11, err_msg=name)


@pytest.mark.parametrize("kernel", ["rbf", "imq"])
def test_mmd_by_loops(kernel):
    *_, samples = batch()
    others = np.random.default_rng(5).normal(size=(4, D))

    def value(left, right, prior_variance):
        distance = sum((a - b) ** 2 for a, b in zip(left, right, strict=True))
        base = 2 * D * prior_variance
        if kernel == "rbf":
            return math.exp(-distance / base)
        return sum(s * base / (s * base + distance) for s in (0.1, 0.2, 0.5, 1, 2, 5, 10))

    for variance in (1.0, 2.5):
        expected = 0.0
        for group in (samples, others):
            pairs = list(itertools.permutations(group, 2))
            expected += sum(value(a, b, variance) for a, b in pairs) / len(pairs)
        pairs = list(itertools.product(samples, others))
        expected -= 2 * sum(value(a, b, variance) for a, b in pairs) / len(pairs)
        np.testing.assert_allclose(
            divergences.mmd(samples, others, kernel, variance), expected, rtol=1e-12, atol=1e-14
        )
    same = divergences.kernel_values(samples[:1], samples[:1], kernel)
    np.testing.assert_allclose(same, 1.0 if kernel == "rbf" else 7.0)


@pytest.mark.slow
@pytest.mark.parametrize("shift", [0.0, 1.5])
def test_mmd_of_normals_is_unbiased(shift):
    """With k = exp(-d^2 / c): MMD^2 = 2 (c / (c + 4))^(D / 2) (1 - exp(-|shift|^2 / (c + 4)))."""
    generator = np.random.default_rng(6)
    draws = {"rbf": [], "imq": []}
    for _ in range(3000):
        samples = generator.normal(size=(8, 2)) + np.array([shift, 0.0])
        others = generator.normal(size=(8, 2))
        for kernel, values in draws.items():
            values.append(divergences.mmd(samples, others, kernel))
    width = 2.0 * 2
    exact = 2 * width / (width + 4) * (1 - math.exp(-(shift**2) / (width + 4)))
    standard_error = np.std(draws["rbf"]) / math.sqrt(3000)
    assert standard_error < 0.005
    assert abs(np.mean(draws["rbf"]) - exact) < 4 * standard_error
    error = np.std(draws["imq"]) / math.sqrt(3000)
    if shift:
        assert exact > 20 * standard_error
        assert np.mean(draws["imq"]) > 20 * error
    else:
        assert abs(np.mean(draws["imq"])) < 4 * error
        assert min(draws["rbf"]) < 0


def test_the_discriminator_by_loops():
    *_, latents = batch()
    layers = discriminator()
    logits = divergences.discriminator_logits(latents, layers)
    for latent, logit in zip(latents, logits, strict=True):
        values = list(latent)
        for position, (kernel, bias) in enumerate(layers):
            sums = [sum(v * k for v, k in zip(values, column, strict=True)) for column in kernel.T]
            values = [s + b for s, b in zip(sums, bias, strict=True)]
            if position < 2:
                values = [max(v, 0.2 * v) for v in values]
        np.testing.assert_allclose(logit, values[0], rtol=1e-11)
    assert logits.min() < 0 < logits.max()


def test_permuting_keeps_every_dimension_s_values():
    *_, latents = batch()
    permuted = divergences.permute_dimensions(latents, permutations(B))
    assert not np.array_equal(permuted, latents)
    np.testing.assert_array_equal(np.sort(permuted, axis=0), np.sort(latents, axis=0))
    identity = [np.arange(B)] * D
    np.testing.assert_array_equal(divergences.permute_dimensions(latents, identity), latents)


def test_extreme_logits_stay_finite():
    values = np.array([-1e4, -1.0, 0.0, 1.0, 1e4])
    expected = [0.0, math.log1p(math.exp(-1)), math.log(2), math.log1p(math.e), 1e4]
    np.testing.assert_allclose(divergences.softplus(values), expected, rtol=1e-15)
