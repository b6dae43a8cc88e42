"""The interventional robustness score, by hand and where the answer is plain."""

import numpy as np
import pytest

from tests.fixtures import factor_codes
from vaeflow.metrics.disentanglement.irs import IRS

FACTORS = factor_codes.grid()
PERFECT = factor_codes.perfect(FACTORS)


def irs(codes, factors=FACTORS, **settings):
    sizes = factors.max(axis=0) + 1
    return IRS(**settings).measure(factor_codes.pool(codes, factors, sizes), 0)["irs"]


def test_it_is_what_a_hand_computes():
    """With u in (0, 1) and v in (0, 1, 2), the latents are u and u + 2v.

    The first strays by 0 while u is kept: robustness 1, largest deviation 0.5. The second strays by 2
    of 2.5 while u is kept, and by 0.5 while v is: robustness 0.8, largest deviation 2.5.
    """
    factors = factor_codes.grid((2, 3))
    codes = np.stack([factors[:, 0], factors[:, 0] + 2 * factors[:, 1]], axis=1)
    assert irs(codes, factors, quantile=1.0) == pytest.approx((0.5 * 1 + 2.5 * 0.8) / 3)


def test_a_quantile_below_1_leaves_out_the_largest_deviations():
    factors = np.repeat([[0], [1]], 100, axis=0)
    codes = 10.0 * factors
    codes[0] += 1.0  # One image of a hundred strays.
    assert irs(codes, factors, quantile=0.9) > irs(codes, factors, quantile=1.0)


def test_a_perfect_code_has_1():
    assert irs(PERFECT) == pytest.approx(1, abs=1e-12)


def test_fresh_images_are_points_like_others():
    found = IRS().measure(factor_codes.fresh(factor_codes.perfect, 500), 0)
    assert found["irs"] == pytest.approx(1, abs=1e-12)


def test_a_rotated_code_has_less():
    assert 0 <= irs(factor_codes.rotated(PERFECT)) < 0.7


def test_the_order_of_the_latents_does_not_matter():
    codes = factor_codes.rotated(PERFECT)
    assert irs(codes[:, [2, 0, 1]]) == pytest.approx(irs(codes), abs=1e-12)


def test_a_latent_that_never_changes_does_not_count():
    codes = factor_codes.rotated(PERFECT)
    # The mean of these is not exact, so that they seem to stray a little.
    constant = np.full((len(codes), 2), 0.1)
    assert irs(np.concatenate([codes, constant], axis=1)) == pytest.approx(irs(codes), abs=1e-12)


def test_latents_that_never_change_have_0():
    assert irs(np.full((len(FACTORS), 2), 0.1)) == 0


def test_a_latent_that_strays_further_in_parts_than_in_all_has_0():
    """A value in ten of each part is at the other end: 1.8 from the mean of its part, 1 from that of all."""
    factors = np.repeat([[0], [1]], 10, axis=0)
    codes = 2.0 * factors - 1.0
    codes[[0, 10]] *= -1.0
    assert irs(codes, factors, quantile=1.0) == 0


def test_another_quantile_is_in_the_name():
    assert IRS(quantile=1.0).conditions() == ["quantile=1.0"]
    assert IRS().conditions() == []
