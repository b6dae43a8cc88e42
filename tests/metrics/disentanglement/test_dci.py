"""Disentanglement, completeness and informativeness: the paper's entropies, and plain codes."""

import math

import numpy as np
import pytest

from tests.fixtures import factor_codes
from vaeflow.metrics.disentanglement import dci
from vaeflow.metrics.disentanglement.dci import DCI

SIZES = (2, 3, 2)  # Few values, since a tree is grown for each.
FACTORS = factor_codes.random_factors(150, SIZES)
PERFECT = factor_codes.perfect(FACTORS)


def measured(codes):
    return DCI().measure(factor_codes.pool(codes, FACTORS, SIZES), 0)


@pytest.fixture(scope="module")
def of_perfect_code():
    return measured(PERFECT)


@pytest.fixture(scope="module")
def of_rotated_code():
    return measured(factor_codes.rotated(PERFECT))


def mean_of_one_minus_entropy(rows, base):
    """Eastwood & Williams 2018, section 2: Σ ρ (1 − H(P)), with ρ the share of a row in all importance."""
    total = sum(map(sum, rows))
    score = 0.0
    for row in rows:
        shares = [value / sum(row) for value in row]
        entropy = -sum(share * math.log(share, base) for share in shares if share)
        score += sum(row) / total * (1 - entropy)
    return score


def test_both_are_the_entropies_of_the_paper():
    importance = np.random.default_rng(0).random((4, 3)) ** 3
    importance[1, 2] = 0.0
    by_latent, by_factor = importance.tolist(), importance.T.tolist()
    assert dci.disentanglement(importance) == pytest.approx(mean_of_one_minus_entropy(by_latent, 3))
    assert dci.completeness(importance) == pytest.approx(mean_of_one_minus_entropy(by_factor, 4))


def test_two_latents_for_a_factor_are_disentangled_and_incomplete():
    importance = np.array([[0.5, 0.0], [0.5, 0.0], [0.0, 1.0], [0.0, 0.0]])
    assert dci.disentanglement(importance) == 1
    assert dci.completeness(importance) == pytest.approx((0.5 + 1) / 2)


def test_two_factors_in_a_latent_are_complete_and_entangled():
    importance = np.array([[1.0, 1.0], [0.0, 0.0]])
    assert dci.disentanglement(importance) == pytest.approx(0)
    assert dci.completeness(importance) == 1


def test_latents_that_say_nothing_have_neither():
    assert dci.disentanglement(np.zeros((3, 2))) == 0
    assert dci.completeness(np.zeros((3, 2))) == 0


def test_a_single_latent_is_complete():
    assert dci.completeness(np.array([[1.0, 1.0]])) == 1


def test_a_perfect_code_has_1(of_perfect_code):
    names = ["dci_disentanglement", "dci_completeness", "dci_informativeness"]
    assert of_perfect_code == pytest.approx(dict.fromkeys(names, 1.0), abs=1e-3)


def test_fresh_images_train_and_others_test():
    found = DCI().measure(factor_codes.fresh(factor_codes.perfect, 60, (2, 3)), 0)
    assert found == pytest.approx(dict.fromkeys(found, 1.0), abs=1e-3)


def test_a_rotated_code_has_less(of_rotated_code):
    assert 0 <= of_rotated_code["dci_disentanglement"] < 0.6
    assert 0 <= of_rotated_code["dci_completeness"] < 0.6


@pytest.mark.slow
def test_the_order_of_the_latents_does_not_matter(of_rotated_code):
    """Up to the splits that are equally good, between which scikit-learn draws."""
    reordered = measured(factor_codes.rotated(PERFECT)[:, [2, 0, 1]])
    assert reordered == pytest.approx(of_rotated_code, abs=0.02)


@pytest.mark.slow
def test_the_same_seed_gives_the_same_bits(of_rotated_code):
    assert measured(factor_codes.rotated(PERFECT)) == of_rotated_code


def test_a_factor_with_one_value_left_to_train_with_needs_no_latent():
    codes, values = np.random.default_rng(0).normal(size=(20, 2)), np.zeros(20, np.int64)
    importance, accuracy = dci.importance_and_accuracy(codes, values, codes[:4], np.array([0, 0, 0, 1]), 0)
    assert importance.tolist() == [0, 0]
    assert accuracy == 0.75
