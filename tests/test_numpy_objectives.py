"""The NumPy oracles' losses: against loops, and the identities between objectives."""

import itertools
import math

import numpy as np
import pytest

from tests.fixtures import numpy_divergences as divergences
from tests.fixtures import numpy_objectives as objectives

B, D, N = 6, 3, 50


def batch(batch_size=B, num_latents=D, seed=0):
    """Reconstruction losses, mean, log variance and one draw of the latents."""
    generator = np.random.default_rng(seed)
    mean, log_variance, noise = (generator.normal(size=(batch_size, num_latents)) for _ in range(3))
    losses = generator.uniform(5.0, 9.0, batch_size)
    return losses, mean, log_variance, mean + np.exp(0.5 * log_variance) * noise


def discriminator(units=(D, 7, 5, 1), scale=1.0, seed=3):
    generator = np.random.default_rng(seed)
    shapes = itertools.pairwise(units)
    return [
        (scale * generator.normal(size=shape), scale * generator.normal(size=shape[1])) for shape in shapes
    ]


def permutations(batch_size, num_latents=D, seed=4):
    generator = np.random.default_rng(seed)
    return [generator.permutation(batch_size) for _ in range(num_latents)]


def test_beta_vae_of_one_is_the_vae():
    losses, mean, log_variance, _ = batch()
    terms, loss = objectives.vae(losses, mean, log_variance)
    assert loss == objectives.beta_vae(losses, mean, log_variance, beta=1.0)[1]
    by_hand = sum(r + k for r, k in zip(losses, terms["kl"], strict=True)) / B
    np.testing.assert_allclose(loss, by_hand, rtol=1e-14)
    slope = objectives.beta_vae(losses, mean, log_variance, beta=5.0)[1] - loss
    np.testing.assert_allclose(slope, 4.0 * np.mean(terms["kl"]), rtol=1e-13)


def test_free_bits_bound_each_dimension_of_the_mean_over_the_batch():
    losses, mean, log_variance, _ = batch()
    per_dimension = [
        sum(divergences.kl_per_dimension(mean, log_variance)[:, d].tolist()) / B for d in range(D)
    ]
    bound = sorted(per_dimension)[1]
    expected = sum(max(bound, value) for value in per_dimension)
    assert expected > sum(per_dimension)
    np.testing.assert_allclose(divergences.free_bits_kl(mean, log_variance, bound), expected, rtol=1e-14)
    np.testing.assert_allclose(
        objectives.beta_vae(losses, mean, log_variance, 4.0, bound)[1],
        losses.mean() + 4.0 * expected,
        rtol=1e-14,
    )
    at_prior = np.zeros((B, D))
    np.testing.assert_allclose(divergences.free_bits_kl(at_prior, at_prior, 0.5), 0.5 * D)


def test_annealed_vae():
    losses, mean, log_variance, _ = batch()
    kl = divergences.kl_per_example(mean, log_variance)
    at_capacity = objectives.annealed_vae(losses, mean, log_variance, capacity=kl.mean())[1]
    np.testing.assert_allclose(at_capacity, losses.mean(), rtol=1e-12)
    outside = objectives.annealed_vae(losses, mean, log_variance, kl.mean() + 0.5, gamma=7.0)[1]
    np.testing.assert_allclose(outside, losses.mean() + 3.5, rtol=1e-12)
    terms, inside = objectives.annealed_vae(
        losses, mean, log_variance, kl.mean() + 0.5, gamma=7.0, per_example=True
    )
    assert terms["capacity_gap"].shape == (B,)
    by_hand = sum(r + 7.0 * abs(k - kl.mean() - 0.5) for r, k in zip(losses, kl, strict=True)) / B
    np.testing.assert_allclose(inside, by_hand, rtol=1e-14)
    assert inside > outside + 0.1
    unconstrained = objectives.annealed_vae(losses, mean, log_variance, 0.0, 1.0, per_example=True)[1]
    np.testing.assert_allclose(unconstrained, objectives.vae(losses, mean, log_variance)[1], rtol=1e-14)


def test_capacity_rises_in_a_line_and_stays():
    steps = (0, 1, 50_000, 100_000, 100_001, 10**9)
    assert [objectives.capacity(step) for step in steps] == [0.0, 0.00025, 12.5, 25.0, 25.0, 25.0]


@pytest.mark.slow
@pytest.mark.parametrize("estimator", ["mws", "mss"])
def test_beta_tc_vae_of_ones_is_the_vae_in_expectation(estimator):
    losses, mean, log_variance, _ = batch()
    generator = np.random.default_rng(1)
    draws = []
    for _ in range(4000):
        latents = mean + np.exp(0.5 * log_variance) * generator.normal(size=mean.shape)
        terms, loss = objectives.beta_tc_vae(losses, mean, log_variance, latents, N, 1.0, 1.0, 1.0, estimator)
        draws.append(loss)
    parts = terms["mutual_information"] + terms["total_correlation"] + terms["dimension_wise_kl"]
    sampled_kl = divergences.log_normal(latents, mean, log_variance) - divergences.log_normal(latents)
    np.testing.assert_allclose(parts, sampled_kl.sum(axis=1).mean(), rtol=1e-12)
    expected = objectives.vae(losses, mean, log_variance)[1]
    standard_error = np.std(draws) / math.sqrt(len(draws))
    assert standard_error < 0.02
    assert abs(np.mean(draws) - expected) < 4 * standard_error


def test_beta_tc_vae_weighs_its_own_term():
    losses, mean, log_variance, latents = batch()
    terms, loss = objectives.beta_tc_vae(losses, mean, log_variance, latents, N, 0.5, 6.0, 2.0, "mss")
    expected = (
        losses.mean()
        + 0.5 * terms["mutual_information"]
        + 6.0 * terms["total_correlation"]
        + 2.0 * terms["dimension_wise_kl"]
    )
    np.testing.assert_allclose(loss, expected, rtol=1e-14)


@pytest.mark.parametrize("kind", ["i", "ii"])
def test_dip_penalties_by_loops(kind):
    losses, mean, log_variance, _ = batch()
    off, on = 0.0, 0.0
    for i, j in itertools.product(range(D), repeat=2):
        average = [sum(mean[b, d] for b in range(B)) / B for d in range(D)]
        entry = sum((mean[b, i] - average[i]) * (mean[b, j] - average[j]) for b in range(B)) / B
        if i == j:
            entry += kind == "ii" and sum(math.exp(log_variance[b, i]) for b in range(B)) / B
            on += (entry - 1) ** 2
        else:
            off += entry**2
    terms, loss = objectives.dip_vae(losses, mean, log_variance, kind, lambda_od=3.0)
    np.testing.assert_allclose(terms["off_diagonal_penalty"], off, rtol=1e-12)
    np.testing.assert_allclose(terms["diagonal_penalty"], on, rtol=1e-12)
    vae_loss = objectives.vae(losses, mean, log_variance)[1]
    lambda_d = {"i": 30.0, "ii": 3.0}[kind]
    np.testing.assert_allclose(loss, vae_loss + 3.0 * off + lambda_d * on, rtol=1e-13)


@pytest.mark.parametrize(("kind", "variance"), [("i", 1.0), ("ii", 0.75)])
def test_dip_of_decorrelated_codes_of_unit_variance_is_the_vae(kind, variance):
    """A factorial design has an exact covariance; type II shares the unit with the posteriors."""
    mean = math.sqrt(variance) * np.array(list(itertools.product([-1.0, 1.0], repeat=D))) + 5.0
    log_variance = np.full_like(mean, math.log(0.25))
    losses = np.arange(8.0)
    terms, loss = objectives.dip_vae(losses, mean, log_variance, kind)
    assert max(terms["off_diagonal_penalty"], terms["diagonal_penalty"]) < 1e-28
    np.testing.assert_allclose(loss, objectives.vae(losses, mean, log_variance)[1], rtol=1e-14)
    np.testing.assert_allclose(divergences.batch_covariance(mean), np.cov(mean.T, bias=True), atol=1e-14)


def test_info_vae_between_the_vae_and_mmd_alone():
    losses, mean, log_variance, latents = batch()
    prior_samples = np.random.default_rng(7).normal(size=(B, D))
    arguments = (losses, mean, log_variance, latents, prior_samples)
    vae_loss = objectives.vae(losses, mean, log_variance)[1]
    np.testing.assert_allclose(objectives.info_vae(*arguments, alpha=0.0, mmd_scale=1.0)[1], vae_loss)
    terms, loss = objectives.info_vae(*arguments, alpha=0.25, mmd_scale=10.0, kernel="rbf")
    expected = losses.mean() + 0.75 * terms["kl"].mean() + 9.25 * terms["mmd"]
    np.testing.assert_allclose(loss, expected, rtol=1e-14)
    without_kl = objectives.info_vae(*arguments, alpha=1.0, mmd_scale=10.0)[1]
    np.testing.assert_allclose(without_kl, objectives.wae_mmd(losses, latents, prior_samples)[1], rtol=1e-14)
    for alpha, mmd_scale in ((0.0, 1e-3), (1.5, 10.0)):
        with pytest.raises(ValueError, match="negative weight"):
            objectives.info_vae(*arguments, alpha=alpha, mmd_scale=mmd_scale)


def test_squared_error_sums_over_pixels_and_channels():
    images = np.arange(24.0).reshape(2, 2, 3, 2)
    np.testing.assert_array_equal(objectives.squared_error(images, images - [1.0, 2.0]), [30.0, 30.0])


@pytest.mark.parametrize("same_batch", [False, True])
def test_factor_vae_by_loops(same_batch):
    losses, mean, log_variance, latents = batch(7)
    own, other = (range(7), range(7)) if same_batch else ((0, 2, 4, 6), (1, 3, 5))
    indices, layers = permutations(len(other)), discriminator(scale=0.7)
    permuted = [[latents[other[indices[d][i]], d] for d in range(D)] for i in range(len(other))]

    def probability(latent):
        return 1 / (1 + math.exp(-divergences.discriminator_logits(np.array([latent]), layers)[0]))

    real = [probability(latents[i]) for i in own]
    fake = [probability(latent) for latent in permuted]
    kl = divergences.kl_per_example(mean, log_variance)
    ratio = sum(math.log(p) - math.log(1 - p) for p in real) / len(real)
    vae_loss = sum(losses[i] + kl[i] for i in own) / len(own)
    terms, loss = objectives.factor_vae(
        losses, mean, log_variance, latents, layers, indices, gamma=10.0, same_batch=same_batch
    )
    np.testing.assert_allclose(terms["total_correlation"], ratio, rtol=1e-10)
    np.testing.assert_allclose(loss, vae_loss + 10.0 * ratio, rtol=1e-10)
    cross_entropy = -sum(map(math.log, real)) / len(real) / 2
    cross_entropy -= sum(math.log(1 - p) for p in fake) / len(fake) / 2
    np.testing.assert_allclose(terms["discriminator_loss"], cross_entropy, rtol=1e-10)


def test_factor_vae_with_an_undecided_discriminator_is_the_vae():
    losses, mean, log_variance, latents = batch()
    layers = [*discriminator()[:-1], (np.zeros((5, 1)), np.zeros(1))]
    terms, loss = objectives.factor_vae(
        losses, mean, log_variance, latents, layers, permutations(B), same_batch=True
    )
    assert loss == objectives.vae(losses, mean, log_variance)[1]
    np.testing.assert_allclose(terms["discriminator_loss"], math.log(2.0), rtol=1e-15)


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        (objectives.linear, [2.0, 4.0, 6.0, 10.0, 10.0]),
        (objectives.cosine, [2.0, 2 + 4 * (1 - math.sqrt(0.5)), 6.0, 10.0, 10.0]),
        (objectives.sigmoid, [2.0, 2 + 8 * 0.045176659730912, 6.0, 10.0, 10.0]),
    ],
)
def test_schedules_that_rise_once(schedule, expected):
    values = [schedule(step, 2.0, 10.0, 1000) for step in (0, 250, 500, 1000, 5000)]
    np.testing.assert_allclose(values, expected, rtol=1e-12)
    rising = [schedule(step, 0.0, 1.0, 50) for step in range(60)]
    assert rising == sorted(rising)
    assert len(set(rising)) == 51


def test_the_cyclical_schedule():
    values = [objectives.cyclical(step, 0.0, 1.0, 16, 2, 0.5) for step in range(18)]
    assert values == [0, 0.25, 0.5, 0.75, 1, 1, 1, 1, 0, 0.25, 0.5, 0.75, 1, 1, 1, 1, 1, 1]
    starts = [objectives.cyclical(step, 0.0, 1.0, 49_000, 49, 0.5) for step in range(0, 49_000, 1000)]
    assert starts == [0.0] * 49
