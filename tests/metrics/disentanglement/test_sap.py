"""The separated attribute predictability, against a machine that SciPy fits."""

import numpy as np
import pytest
from scipy import optimize

from tests.fixtures import factor_codes
from vaeflow.metrics.disentanglement import SAP


def sap(representations, seed=0):
    return SAP().measure(representations, seed)["sap"]


def accuracy_by_scipy(codes, labels, test_codes, test_labels):
    """Of a linear machine with squared hinge loss, C = 0.01, and two classes of equal weight."""
    sign = 2.0 * labels - 1
    weight = 0.01 * len(labels) / (2 * np.bincount(labels)[labels])

    def loss(solution):
        margins = 1 - sign * (solution[0] * codes + solution[1])
        return 0.5 * np.sum(solution**2) + np.sum(weight * np.maximum(margins, 0) ** 2)

    slope, offset = optimize.minimize(loss, np.zeros(2), tol=1e-10).x
    return np.mean((slope * test_codes + offset > 0) == test_labels)


def test_it_is_the_gap_of_the_accuracies():
    factors = factor_codes.random_factors(300, (2, 2))
    factors[:120, 1] = 0  # So that the weights of the classes matter.
    codes = factor_codes.noisy(factors @ np.array([[1.0, 0.3, 0.0], [0.2, 0.8, 0.5]]), 0.4)
    pool = factor_codes.pool(codes, factors, (2, 2))
    (train, of_train), (test, of_test) = pool.train_and_test(SAP().generator(0))
    gaps = []
    for factor in range(2):
        labels = of_train[:, factor], of_test[:, factor]
        each = [accuracy_by_scipy(train[:, j], labels[0], test[:, j], labels[1]) for j in range(3)]
        gaps.append(np.diff(sorted(each))[-1])
    assert sap(pool) == pytest.approx(np.mean(gaps), abs=1e-12)
    assert sap(pool) > 0.05


def test_a_perfect_code_of_two_values_has_half():
    """Its latent is always right, another guesses one of two values; 200 guesses deviate by 0.035."""
    factors = factor_codes.random_factors(600, (2, 2, 2))
    assert sap(factor_codes.pool(factor_codes.perfect(factors), factors, (2, 2, 2))) == pytest.approx(
        0.5, abs=0.1
    )


def test_a_code_that_is_turned_has_less():
    factors = factor_codes.random_factors(600, (4, 4))
    turned = sap(factor_codes.pool(factor_codes.half_turned(factors), factors, (4, 4)))
    perfect = sap(factor_codes.pool(factor_codes.perfect(factors), factors, (4, 4)))
    assert 0 <= turned < 0.1 < 0.2 < perfect < 0.75


def test_the_order_of_the_latents_does_not_matter():
    factors = factor_codes.random_factors(150)
    codes = factor_codes.noisy(factors)
    assert sap(factor_codes.pool(codes[:, [2, 0, 1]], factors)) == sap(factor_codes.pool(codes, factors))


def test_the_seed_chooses_who_tests():
    factors = factor_codes.random_factors(150)
    pool = factor_codes.pool(factor_codes.noisy(factors), factors)
    assert sap(pool, 1) == sap(pool, 1)
    assert sap(pool, 1) != sap(pool, 2)


def test_a_value_that_only_testing_images_have_is_never_predicted():
    factors = np.zeros((6, 1), np.int64)
    _, (_, tested) = factor_codes.pool(np.arange(6.0)[:, None], np.arange(6)[:, None], (6,)).train_and_test(
        SAP().generator(0)
    )
    factors[tested[0, 0]] = 1
    assert sap(factor_codes.pool(np.ones((6, 2)), factors, (2,))) == 0
    assert sap(factor_codes.pool(np.ones((6, 1)), factors, (2,))) == 0.5


def test_fresh_images_do_as_well():
    assert sap(factor_codes.fresh(factor_codes.perfect, 400, (2, 2))) == pytest.approx(0.5, abs=0.1)
