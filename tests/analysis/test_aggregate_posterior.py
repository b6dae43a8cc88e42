"""The aggregate posterior and the mutual information against closed forms and a double loop."""

import math
import tracemalloc

import numpy as np
import pytest

from vaeflow.analysis import aggregate_posterior
from vaeflow.analysis.aggregate_posterior import log_aggregate_posterior, mutual_information


def posteriors(num_examples=7, num_latents=3, seed=0):
    """Means, log variances and a sample of each posterior."""
    generator = np.random.default_rng(seed)
    mean, log_variance, noise = generator.normal(size=(3, num_examples, num_latents))
    return mean + np.exp(0.5 * log_variance) * noise, mean, log_variance


def density(value, mean, log_variance):
    """Of one value under one diagonal Gaussian."""
    variance = np.exp(log_variance)
    return np.prod(np.exp(-((value - mean) ** 2) / (2 * variance)) / np.sqrt(2 * np.pi * variance))


@pytest.mark.parametrize("chunk_bytes", [1, 3 * 56, 1 << 20])
def test_it_equals_a_double_loop(monkeypatch, chunk_bytes):
    monkeypatch.setattr(aggregate_posterior, "_CHUNK_BYTES", chunk_bytes)
    _, mean, log_variance = posteriors()
    latents = np.random.default_rng(1).normal(size=(11, 3))
    expected = [math.log(np.mean([density(z, *other) for other in zip(mean, log_variance)])) for z in latents]
    result = log_aggregate_posterior(latents, mean, log_variance)
    assert result.dtype == np.float64
    np.testing.assert_allclose(result, expected, rtol=1e-12)


def test_mutual_information_equals_a_double_loop():
    latents, mean, log_variance = posteriors()
    expected = [
        math.log(density(z, *own) / np.mean([density(z, *other) for other in zip(mean, log_variance)]))
        for z, *own in zip(latents, mean, log_variance)
    ]
    assert mutual_information(latents, mean, log_variance) == pytest.approx(np.mean(expected), rel=1e-12)


def test_equal_posteriors_tell_nothing():
    latents = np.random.default_rng(0).normal(size=(50, 4))
    assert mutual_information(latents, np.zeros((50, 4)), np.zeros((50, 4))) == pytest.approx(0, abs=1e-12)


def test_two_far_groups_tell_one_bit():
    latents, mean, log_variance = (
        np.random.default_rng(0).normal(size=(50, 4)),
        np.zeros((50, 4)),
        np.zeros((50, 4)),
    )
    mean[::2], latents[::2] = 100.0, latents[::2] + 100.0
    assert mutual_information(latents, mean, log_variance) == pytest.approx(math.log(2), rel=1e-12)


def test_posteriors_that_do_not_overlap_tell_the_example():
    """Far tails and tiny variances neither underflow nor cancel."""
    mean = np.linspace(1000, 1001, 200)[:, None]
    assert mutual_information(mean, mean, np.full_like(mean, -40.0)) == pytest.approx(
        math.log(200), rel=1e-12
    )


def test_a_gaussian_channel_approaches_its_capacity():
    """For means from N(0, 1) and noise of variance s², I = ½ log(1 + 1/s²)."""
    mean, noise = np.random.default_rng(0).normal(size=(2, 3000, 1))
    estimate = mutual_information(mean + 0.5 * noise, mean, np.full_like(mean, math.log(0.25)))
    assert estimate == pytest.approx(0.5 * math.log(1 + 4), abs=0.05)


def test_float32_arrays_are_compared_in_float64():
    latents, mean, log_variance = (values.astype(np.float32) for values in posteriors())
    exact = mutual_information(*(values.astype(np.float64) for values in (latents, mean, log_variance)))
    assert mutual_information(latents, mean, log_variance) == exact


def test_memory_does_not_grow_with_the_pairs():
    latents, mean, log_variance = posteriors(2000, 4)
    tracemalloc.start()
    log_aggregate_posterior(latents, mean, log_variance)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 8 * 2**20  # All pairs at once would take 32 MB for each array.


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        (((5, 3), (4, 2), (4, 2)), r"`latents` must be \[M, 2\], got \(5, 3\)"),
        (((5, 2), (4, 2), (4, 3)), r"must both be \[N, D\], got \(4, 2\) and \(4, 3\)"),
        (((5, 2), (0, 2), (0, 2)), r"must both be \[N, D\]"),
        (((5, 2), (4, 2), (4, 2)), r"`latents` must be one sample of each posterior, \(4, 2\), got \(5, 2\)"),
    ],
)
def test_other_shapes_are_refused(shapes, message):
    with pytest.raises(ValueError, match=message):
        mutual_information(*(np.zeros(shape) for shape in shapes))
