"""Modularity from the paper's equation, explicitness from pairs of images, and codes with a plain answer."""

import itertools

import numpy as np
import pytest

from tests.fixtures import factor_codes
from vaeflow.metrics.disentanglement.modularity_explicitness import (
    ModularityExplicitness,
    explicitness,
    modularity,
)

FACTORS = factor_codes.grid()


def measured(codes, factors=FACTORS, **settings):
    return ModularityExplicitness(**settings).measure(factor_codes.pool(codes, factors), 0)


def modularity_by_hand(information):
    """Ridgeway & Mozer 2018, section 3: the distance of each latent from a template with one factor."""
    of_latents = []
    for of_factors in information:
        largest = max(of_factors)
        template = [largest if value == largest else 0.0 for value in of_factors]
        distance = sum((value - other) ** 2 for value, other in zip(of_factors, template, strict=True))
        of_latents.append(1 - distance / (largest**2 * (len(of_factors) - 1)))
    return sum(of_latents) / len(of_latents)


def test_modularity_is_the_distance_from_a_template():
    information = np.random.default_rng(0).random((5, 3))
    assert modularity(information) == pytest.approx(modularity_by_hand(information.tolist()))


def test_a_latent_without_information_counts_0():
    assert modularity(np.array([[0.7, 0.0], [0.0, 0.0]])) == 0.5


def test_a_latent_that_knows_two_factors_equally_has_0():
    assert modularity(np.array([[0.3, 0.3]])) == 0


def test_explicitness_is_the_share_of_pairs_in_the_right_order():
    """With one latent and two values, the regression orders as the latent does, whatever its weight."""
    rng = np.random.default_rng(0)
    values = np.arange(60) % 2
    codes = (values + rng.normal(size=60))[:, None]
    train, test = slice(0, 40), slice(40, 60)
    held_out = list(zip(codes[test, 0], values[test], strict=True))
    ones = [code for code, value in held_out if value == 1]
    zeros = [code for code, value in held_out if value == 0]
    in_order = np.mean([one > zero for one, zero in itertools.product(ones, zeros)])
    assert explicitness(codes[train], values[train], codes[test], values[test]) == pytest.approx(in_order)
    assert 0.5 < in_order < 1


def test_a_value_that_nothing_held_out_has_does_not_count():
    codes = np.arange(6.0)[:, None]
    values = np.array([0, 1, 2, 3, 0, 0])
    assert explicitness(codes, values, codes[:2], values[:2]) in (0.0, 0.5, 1.0)
    assert explicitness(codes, values, codes[:1], values[:1]) == 0.5


def test_a_perfect_code_is_modular():
    assert measured(factor_codes.perfect(FACTORS))["modularity"] == pytest.approx(1, abs=1e-12)


def test_fresh_images_train_and_others_test():
    """Of two values, a line through a latent separates both."""
    found = ModularityExplicitness().measure(factor_codes.fresh(factor_codes.perfect, 400, (2, 2)), 0)
    assert found["modularity"] == pytest.approx(1, abs=0.01)
    assert found["explicitness"] == 1


def test_a_latent_for_each_value_is_modular_and_explicit():
    factors = factor_codes.random_factors(300)
    columns = [factors[:, at] == value for at, size in enumerate(factor_codes.SIZES) for value in range(size)]
    found = measured(np.stack(columns, axis=1).astype(np.float64), factors)
    assert found["explicitness"] == 1
    assert found["modularity"] == pytest.approx(1, abs=0.02)


def test_values_in_the_middle_of_a_latent_are_not_explicit():
    """No line separates them from those on both sides; the two at the ends have 1."""
    factors = np.arange(90)[:, None] % 3
    assert measured(factors.astype(np.float64), factors)["explicitness"] == pytest.approx(5 / 6, abs=0.1)


def test_a_rotation_changes_modularity_and_not_explicitness():
    factors = factor_codes.random_factors(240)
    codes = factor_codes.perfect(factors)
    codes /= codes.std(axis=0)
    one, other = measured(codes, factors), measured(factor_codes.rotated(codes), factors)
    assert 0 <= other["modularity"] < one["modularity"] - 0.2
    assert other["explicitness"] == pytest.approx(one["explicitness"], abs=0.02)
    assert 0.5 < other["explicitness"] <= 1


def test_the_order_of_the_latents_does_not_matter():
    codes = factor_codes.rotated(factor_codes.perfect(FACTORS))
    assert measured(codes[:, [1, 2, 0]]) == pytest.approx(measured(codes), abs=1e-6)


def test_a_latent_that_never_changes_only_lowers_the_mean():
    codes = factor_codes.rotated(factor_codes.perfect(FACTORS))
    one, other = measured(codes), measured(np.concatenate([codes, np.ones((len(codes), 1))], axis=1))
    assert other["modularity"] == pytest.approx(one["modularity"] * 3 / 4)
    assert other["explicitness"] == pytest.approx(one["explicitness"], abs=1e-6)


def test_another_number_of_bins_is_in_the_name():
    assert ModularityExplicitness(num_bins=10).conditions() == ["bins=10"]
    assert ModularityExplicitness().conditions() == []
