"""Scores without factors, against closed forms."""

import types

import numpy as np
import pytest
from sklearn.metrics import mutual_info_score

from tests.fixtures import factor_codes
from vaeflow.metrics.disentanglement import unsupervised
from vaeflow.metrics.disentanglement.unsupervised import UnsupervisedScores

FACTORS = factor_codes.grid()
PERFECT = factor_codes.perfect(FACTORS)
NAMES = [
    "gaussian_total_correlation",
    "gaussian_wasserstein_correlation",
    "gaussian_wasserstein_correlation_norm",
    "mutual_information_score",
]


def measured(codes, **settings):
    return UnsupervisedScores(**settings).measure(factor_codes.pool(codes, FACTORS), 0)


def random_covariance(size=4):
    factor = np.random.default_rng(0).normal(size=(size, size))
    return factor @ factor.T


def test_the_total_correlation_is_the_kl_divergence_from_the_marginals():
    covariance = random_covariance()
    marginals = np.diag(np.diag(covariance))
    ratio = np.linalg.det(marginals) / np.linalg.det(covariance)
    kl = 0.5 * (np.trace(np.linalg.inv(marginals) @ covariance) - 4 + np.log(ratio))
    assert unsupervised.gaussian_total_correlation(covariance) == pytest.approx(kl)


def test_the_total_correlation_of_two_is_that_of_their_correlation():
    covariance = np.array([[4.0, 1.8], [1.8, 1.0]])  # A correlation of 0.9.
    expected = -0.5 * np.log(1 - 0.9**2)
    assert unsupervised.gaussian_total_correlation(covariance) == pytest.approx(expected)


def test_the_wasserstein_distance_of_two_has_a_closed_form():
    """tr √M = √(tr M + 2 √det M) for a matrix M of two rows."""
    covariance = np.array([[4.0, 1.5], [1.5, 1.0]])
    product = np.diag(np.diag(covariance)) @ covariance
    root = np.sqrt(np.trace(product) + 2 * np.sqrt(np.linalg.det(product)))
    found = unsupervised.gaussian_wasserstein_correlation(covariance)
    assert found == pytest.approx(2 * np.trace(covariance) - 2 * root)
    assert found > 0.1


def test_the_mutual_information_is_the_mean_over_pairs():
    codes = np.random.default_rng(0).normal(size=(300, 3)) @ np.random.default_rng(1).normal(size=(3, 3))
    bins = [np.minimum((5 * (c - c.min()) / np.ptp(c)).astype(int), 4) for c in codes.T]
    pairs = [(0, 1), (0, 2), (1, 2)]
    expected = np.mean([mutual_info_score(bins[one], bins[other]) for one, other in pairs])
    assert unsupervised.mean_mutual_information(codes, 5) == pytest.approx(expected)


def test_independent_latents_have_0():
    assert measured(PERFECT) == pytest.approx(dict.fromkeys(NAMES, 0.0), abs=1e-12)


def test_fresh_images_are_points_like_others():
    fresh = factor_codes.fresh(factor_codes.perfect, 2000)
    assert UnsupervisedScores().measure(fresh, 0) == pytest.approx(dict.fromkeys(NAMES, 0.0), abs=0.02)


def test_a_rotated_code_has_more():
    found = measured(factor_codes.rotated(PERFECT))
    assert min(found.values()) > 0.1
    assert found["gaussian_wasserstein_correlation_norm"] < 2


def test_the_order_of_the_latents_does_not_matter():
    codes = factor_codes.rotated(PERFECT)
    assert measured(codes[:, [2, 0, 1]]) == pytest.approx(measured(codes))


def test_a_latent_that_never_changes_adds_no_dependence():
    codes = factor_codes.rotated(PERFECT)
    one, other = measured(codes), measured(np.concatenate([codes, np.ones((len(codes), 1))], axis=1))
    assert other["mutual_information_score"] == pytest.approx(one["mutual_information_score"] * 3 / 6)
    for name in NAMES[:3]:
        assert other[name] == pytest.approx(one[name])


def test_equal_latents_have_a_finite_total_correlation():
    found = measured(np.concatenate([PERFECT, PERFECT[:, :1]], axis=1))["gaussian_total_correlation"]
    assert 16 < found < 20


@pytest.mark.parametrize("codes", [PERFECT[:, :1], np.ones_like(PERFECT)])
def test_one_latent_and_none_that_changes_have_0(codes):
    assert measured(codes) == pytest.approx(dict.fromkeys(NAMES, 0.0), abs=1e-12)


def test_samples_are_of_the_aggregate_posterior():
    """They have the covariance of the centers and the mean variance of q(z|x) on top."""
    centers, samples = factor_codes.rotated(PERFECT), PERFECT
    embedding = types.SimpleNamespace(latents=samples)
    representations = types.SimpleNamespace(codes=centers, embedding=embedding)
    found = UnsupervisedScores(representation="sampled").measure(representations, 0)
    assert found == pytest.approx(measured(samples))
    assert found != pytest.approx(measured(centers))


def test_other_settings_are_in_the_name():
    found = UnsupervisedScores(representation="sampled", num_bins=10).conditions()
    assert found == ["representation=sampled", "bins=10"]
    assert UnsupervisedScores().conditions() == []
