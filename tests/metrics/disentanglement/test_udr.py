"""Unsupervised disentanglement ranking, against loops over the paper's sums and where the answer is plain."""

import numpy as np
import pytest
from scipy.stats import spearmanr

from vaeflow.metrics.disentanglement import udr
from vaeflow.metrics.disentanglement.comparison import Latents
from vaeflow.metrics.disentanglement.udr import UDR

SOURCES = np.random.default_rng(0).normal(size=(4000, 3))
ALL_USED = np.ones(3)


def scores(*runs, **settings):
    compared = UDR(**settings).compare([Latents(codes, np.asarray(kl)) for codes, kl in runs])
    return [each["udr"] for each in compared]


def rotated(codes, seed):
    square = np.random.default_rng(seed).normal(size=(3, 3))
    return codes @ np.linalg.qr(square)[0]


def relabelled(codes):
    """The same latents in another order, with other signs and scales."""
    return codes[:, [2, 0, 1]] * np.array([-2.0, 0.5, 3.0]) + 1.0


def test_a_pair_scores_the_sums_of_the_paper():
    """Duan et al. 2020, section 4, with all latents informative."""
    similarity = np.random.default_rng(1).random((3, 4))
    total = 0.0
    for b in range(4):
        column = [similarity[a, b] for a in range(3)]
        total += max(column) ** 2 / sum(column)
    for a in range(3):
        row = [similarity[a, b] for b in range(4)]
        total += max(row) ** 2 / sum(row)
    assert udr.pair_score(similarity) == pytest.approx(total / 7)


def test_a_permutation_scores_1_and_all_alike_a_share():
    assert udr.pair_score(np.eye(4)[[2, 0, 3, 1]]) == 1
    assert udr.pair_score(np.ones((4, 4))) == 0.25
    assert udr.pair_score(np.zeros((4, 4))) == 0


@pytest.mark.parametrize(("similarity", "best"), [("spearman", 1.0), ("lasso", 0.9)])
def test_the_same_latents_in_another_order_sign_and_scale_score_the_most(similarity, best):
    found = scores((SOURCES, ALL_USED), (relabelled(SOURCES), ALL_USED), similarity=similarity)
    assert found == pytest.approx([best, best], abs=0.03)


@pytest.mark.parametrize("similarity", ["spearman", "lasso"])
def test_runs_that_rotate_differently_score_less(similarity):
    runs = [(rotated(SOURCES, seed), ALL_USED) for seed in range(3)]
    assert all(0 < score < 0.6 for score in scores(*runs, similarity=similarity))


def test_a_lasso_of_uncorrelated_latents_cuts_their_correlations():
    """The minimum of |y − xw|² / 2n + 0.1 |w| is at the correlation, moved by 0.1 towards 0."""
    white = np.linalg.qr(SOURCES - SOURCES.mean(axis=0))[0] * np.sqrt(len(SOURCES))
    mixed = rotated(white, 1)
    correlations = np.abs(white.T @ mixed) / len(white)
    found = udr.lasso_similarity(5 * white, 2 * mixed + 1)
    np.testing.assert_allclose(found, np.maximum(correlations - 0.1, 0), atol=1e-3)


def test_the_rank_correlation_counts_ties_as_scipy_does():
    one, other = np.round(SOURCES, 1), np.round(rotated(SOURCES, 1), 1)
    expected = np.abs(spearmanr(one, other).statistic[:3, 3:])
    np.testing.assert_allclose(udr.spearman_similarity(one, other), expected, atol=1e-12)


def test_unused_latents_do_not_count():
    noise = np.random.default_rng(2).normal(size=(4000, 2))
    with_unused = np.concatenate([relabelled(SOURCES), noise], axis=1)
    kl = [1.0, 1.0, 1.0, 0.009, 0.0]
    one = scores((SOURCES, ALL_USED), (relabelled(SOURCES), ALL_USED))
    assert scores((SOURCES, ALL_USED), (with_unused, kl)) == pytest.approx(one)
    assert scores((SOURCES, ALL_USED), (with_unused, kl), threshold=0.0) != pytest.approx(one)


def test_a_run_without_a_used_latent_scores_0():
    assert scores((SOURCES, ALL_USED), (SOURCES, np.zeros(3))) == [0, 0]


def test_a_run_has_the_median_of_its_pairs():
    """The fifth run alone is another; each of the four alike has three pairs of 1, and one less."""
    alike = [(SOURCES, ALL_USED), (relabelled(SOURCES), ALL_USED)] * 2
    found = scores(*alike, (rotated(SOURCES, 1), ALL_USED), similarity="spearman")
    assert found[:4] == pytest.approx([1] * 4, abs=0.03)
    assert found[4] < 0.6


def test_what_decides_the_figure_is_in_the_name():
    assert UDR().conditions() == ["lasso"]
    assert UDR(similarity="spearman", threshold=0.1).conditions() == ["spearman", "threshold=0.1"]


def test_an_unknown_group_is_refused():
    with pytest.raises(ValueError, match=r"`UDR\.among` must be"):
        UDR(among="models")
