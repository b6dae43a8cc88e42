"""What is kept of features: exact, whatever the batches and blocks."""

import numpy as np
import pytest

from vaeflow.metrics.fidelity import Features, GaussianFit, features

SAMPLES = np.random.default_rng(0).normal([5.0, -1.0, 1e4], [1.0, 0.1, 2.0], (101, 3))


def fitted(samples, batch_size=7):
    fit = GaussianFit()
    for first in range(0, len(samples), batch_size):
        fit.add(samples[first : first + batch_size])
    return fit


def covariance(fit):
    return fit.deviation.T @ fit.deviation


def test_a_fit_has_the_mean_and_the_covariance():
    fit = fitted(SAMPLES)
    assert fit.num_images == 101
    np.testing.assert_allclose(fit.mean, SAMPLES.mean(axis=0), rtol=1e-13)
    np.testing.assert_allclose(covariance(fit), np.cov(SAMPLES.T), rtol=1e-10, atol=1e-11)


def test_a_fit_is_the_same_in_small_blocks(monkeypatch):
    whole = fitted(SAMPLES)
    monkeypatch.setattr(features, "_BLOCK_BYTES", 1)
    blocks = fitted(SAMPLES)
    np.testing.assert_allclose(blocks.mean, whole.mean, rtol=1e-13)
    np.testing.assert_allclose(covariance(blocks), covariance(whole), rtol=1e-10, atol=1e-11)


def test_a_fit_has_the_same_bits_for_every_batch_size(monkeypatch):
    monkeypatch.setattr(features, "_BLOCK_BYTES", 8 * 4 * 10)
    one, other = fitted(SAMPLES, 4), fitted(SAMPLES, 33)
    np.testing.assert_array_equal(one.deviation, other.deviation)


def test_a_fit_of_fewer_images_than_features_is_singular():
    few = SAMPLES[:2]
    np.testing.assert_allclose(covariance(fitted(few)), np.cov(few.T), rtol=1e-9, atol=1e-12)
    assert fitted(few).deviation.shape == (1, 3)


def test_small_deviations_around_a_large_mean_keep_their_digits():
    """A sum of outer products of these features in float64 would have no digit of the variance right."""
    small = 1e-5 * np.random.default_rng(1).normal(size=(50, 1))
    far = small + 1e4
    expected = np.var(far - far.mean(), ddof=1)
    assert covariance(fitted(far))[0, 0] == pytest.approx(expected, rel=1e-6)
    squares = np.mean(np.square(far)) - np.mean(far) ** 2
    assert abs(squares - expected) > 0.1 * expected


def test_all_features_are_kept_in_order():
    kept = Features()
    kept.add(SAMPLES[:50])
    kept.add(SAMPLES[50:])
    np.testing.assert_array_equal(kept.array, SAMPLES)
    assert kept.num_images == 101
