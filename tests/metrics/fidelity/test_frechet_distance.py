"""The Fréchet distance against SciPy's matrix root and a closed form."""

import numpy as np
import pytest
import scipy.linalg

from vaeflow.metrics.fidelity import FrechetDistance, GaussianFit
from vaeflow.metrics.fidelity.frechet_distance import frechet_distance


def fitted(samples):
    fit = GaussianFit()
    fit.add(samples)
    return fit


def distance(one, other):
    return frechet_distance(fitted(one), fitted(other))


def scipy_distance(one, other):
    """Heusel et al. 2017, Eq. 6, with the root of the product of the covariances."""
    covariances = np.cov(one.T), np.cov(other.T)
    root = scipy.linalg.sqrtm(covariances[0] @ covariances[1])
    means = np.sum((one.mean(axis=0) - other.mean(axis=0)) ** 2)
    return means + np.trace(covariances[0] + covariances[1] - 2 * root.real)


def samples(seed, count, num_features=6):
    """Correlated features."""
    generator = np.random.default_rng(seed)
    return generator.normal(size=(count, num_features)) @ generator.normal(size=(num_features, num_features))


@pytest.mark.parametrize(("first", "second"), [(50, 80), (200, 200), (7, 300)])
def test_it_equals_a_computation_with_scipys_root(first, second):
    one, other = samples(0, first), samples(1, second) + 0.5
    assert distance(one, other) == pytest.approx(scipy_distance(one, other), rel=1e-9)


def test_it_equals_scipys_root_to_its_precision_where_covariances_are_singular():
    one, other = samples(0, 5), samples(1, 4)
    assert distance(one, other) == pytest.approx(scipy_distance(one, other), rel=1e-5)


def test_of_gaussians_it_is_the_closed_form():
    """With diagonal covariances: |m − n|² + Σ (σ − τ)²; the features have these moments exactly."""
    corners = np.array([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]]) * np.sqrt(3 / 4)
    one = corners * [1.0, 2.0] + [0.0, 3.0]
    other = corners * [4.0, 0.5] + [1.0, 1.0]
    assert distance(one, other) == pytest.approx(1**2 + 2**2 + 3**2 + 1.5**2, rel=1e-13)


def test_equal_sets_are_at_distance_0():
    for count in (4, 50):
        one = samples(0, count)
        assert distance(one, one) == pytest.approx(0, abs=1e-12 * np.sum(one**2))


def test_it_is_symmetric():
    one, other = samples(0, 20), samples(1, 30)
    assert distance(one, other) == pytest.approx(distance(other, one), rel=1e-12)


def test_fewer_images_than_features_are_warned_of(caplog, frozen):
    FrechetDistance(frozen).compare(fitted(samples(0, 6)), fitted(samples(1, 50)), 0)
    assert "the covariance of 6 features is singular with 6 images" in caplog.text


def test_enough_images_are_not_warned_of(caplog, frozen):
    found = FrechetDistance(frozen).compare(fitted(samples(0, 7)), fitted(samples(1, 50)), 0)
    assert found == {"fid": distance(samples(0, 7), samples(1, 50))}
    assert not caplog.text
