"""Mean and deviation of shards that are seen one at a time, against NumPy on all of them."""

import json

import numpy as np
import pytest

from vaeflow.datasets.encoded.moments import Moments


def latents(count, offset):
    values = np.random.RandomState(0).normal(offset, [1, 1e-3, 50], (count, 2, 3)).astype(np.float32)
    return values, np.random.RandomState(1).normal(-2, 1, values.shape).astype(np.float32)


def joined(values, log_variance, bounds):
    parts = [
        Moments.of(values[first:last], log_variance[first:last])
        for first, last in zip([0, *bounds], [*bounds, len(values)])
    ]
    # As records of shards keep them.
    whole, *others = (Moments.from_json(json.loads(json.dumps(part.to_json()))) for part in parts)
    for other in others:
        whole = whole.joined(other)
    return whole


@pytest.mark.parametrize("bounds", [[], [1], [400, 401, 999]])
@pytest.mark.parametrize("offset", [0.0, 1e4])  # Where E[z²] − E[z]² would lose all digits.
def test_they_are_those_of_numpy(bounds, offset):
    values, log_variance = latents(1000, offset)
    found = joined(values, log_variance, bounds)
    wide, variances = values.astype(np.float64), np.exp(log_variance.astype(np.float64))
    np.testing.assert_allclose(found.mean, wide.mean((0, 1)), rtol=1e-13, atol=1e-13)
    np.testing.assert_allclose(found.deviation, wide.std((0, 1)), rtol=1e-11)
    np.testing.assert_allclose(found.of_all.mean, [wide.mean()], rtol=1e-13, atol=1e-13)
    np.testing.assert_allclose(found.of_all.deviation, [wide.std()], rtol=1e-11)
    of_samples = np.sqrt(wide.var((0, 1)) + variances.mean((0, 1)))
    np.testing.assert_allclose(found.sample_deviation, of_samples, rtol=1e-11)


def test_those_of_samples_are_those_of_draws():
    """By Monte Carlo: the deviation of 100,000 draws is within 4 / √200,000, or 0.9 %, of the true one."""
    mean, log_variance = np.array([[-1.0], [2.0]]), np.array([[0.5], [-1.0]])
    noise = np.random.RandomState(2).normal(size=(2, 50_000))
    draws = mean + np.exp(log_variance / 2) * noise
    found = Moments.of(mean, log_variance).sample_deviation
    np.testing.assert_allclose(found, [draws.std()], rtol=0.009)


def test_latents_without_variances_have_no_deviation_of_samples():
    assert Moments.of(latents(5, 0.0)[0]).statistics().keys() == {"mean", "deviation"}


@pytest.mark.parametrize(
    "change",
    [{}, {"count": 6}, {"mean": [0.0]}, {"squares": [1.0, 1.0, -1.0]}, {"variances": []}],
)
def test_what_cannot_be_moments_is_told_apart(change):
    """NumPy would broadcast some of them, and give a deviation of NaN for others."""
    content = {"count": 8, "mean": [0.0, 1.0, 2.0], "squares": [1.0] * 3, "variances": [0.0] * 3} | change
    assert Moments.from_json(content).may_be_of(8, 3) == (not change)
