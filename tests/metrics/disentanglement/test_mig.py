"""The mutual information gap, against histograms counted by hand."""

import collections
import math

import numpy as np
import pytest

from tests.fixtures import factor_codes
from vaeflow.metrics.disentanglement import MIG
from vaeflow.metrics.disentanglement.information import binned
from vaeflow.metrics.disentanglement.mig import gap_of_two_largest


def mig(representations, **settings):
    return MIG(**settings).measure(representations, 0)["mig"]


def by_hand(codes, factors, num_bins):
    """Eq. 6 of Chen et al. 2018, with sums over the pairs of values that occur."""
    gaps = []
    for labels in factors.T:
        informations = []
        for column in codes.T:
            width = (column.max() - column.min()) / num_bins
            bins = [min(int((code - column.min()) / width), num_bins - 1) for code in column]
            joint = collections.Counter(zip(bins, labels.tolist(), strict=True))
            ones, others = collections.Counter(bins), collections.Counter(labels.tolist())
            n = len(bins)
            informations.append(
                sum(c / n * math.log(c * n / (ones[a] * others[b])) for (a, b), c in joint.items())
            )
        entropy = -sum(c / n * math.log(c / n) for c in others.values())
        second, first = sorted(informations)[-2:]
        gaps.append((first - second) / entropy)
    return sum(gaps) / len(gaps)


@pytest.mark.parametrize("num_bins", [20, 7])
def test_it_is_equation_6(num_bins):
    factors = factor_codes.random_factors(500)
    noise = np.random.default_rng(1).normal(size=(500, 4))
    codes = factors @ np.random.default_rng(2).normal(size=(3, 4)) + noise
    found = mig(factor_codes.pool(codes, factors), num_bins=num_bins)
    assert found == pytest.approx(by_hand(codes, factors, num_bins), abs=1e-12)
    assert 0 < found < 1


def test_a_perfect_code_has_1():
    factors = factor_codes.grid()
    assert mig(factor_codes.pool(factor_codes.perfect(factors), factors)) == pytest.approx(1, abs=1e-12)


def test_a_rotated_code_has_less():
    factors = factor_codes.grid()
    codes = factor_codes.rotated(factor_codes.perfect(factors))
    assert 0 <= mig(factor_codes.pool(codes, factors)) < 0.5


def test_two_equal_latents_have_0():
    factors = factor_codes.grid()
    codes = np.concatenate([factors, factors], axis=1)
    assert mig(factor_codes.pool(codes, factors)) == 0


def test_a_single_latent_has_no_second():
    assert gap_of_two_largest(np.array([[0.5, 0.2]])).tolist() == [0.5, 0.2]


def test_the_order_of_the_latents_does_not_matter():
    factors = factor_codes.random_factors(200)
    codes = factors + np.random.default_rng(0).normal(size=factors.shape)
    one = mig(factor_codes.pool(codes, factors))
    assert mig(factor_codes.pool(codes[:, [2, 0, 1]], factors)) == pytest.approx(one, abs=1e-12)


def test_fresh_images_are_points_like_others():
    assert mig(factor_codes.fresh(factor_codes.perfect, 2000)) == pytest.approx(1, abs=0.02)


def test_the_bins_reach_from_the_smallest_to_the_largest_code():
    codes = np.array([[0.0], [0.24], [0.26], [0.9], [1.0]])
    assert binned(codes, 4).ravel().tolist() == [0, 0, 1, 3, 3]


def test_a_latent_that_never_changes_has_one_bin():
    assert np.unique(binned(np.full((5, 1), 3.0), 20)).size == 1


def test_another_number_of_bins_is_in_the_name():
    assert MIG().conditions() == []
    assert MIG(num_bins=10).conditions() == ["bins=10"]
