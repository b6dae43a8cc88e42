"""The discretized mixture of logistics against the equations of its paper, with sums over all levels."""

import itertools

import numpy as np
import pytest
import tensorflow as tf

from vaeflow.distributions import LogisticMixture

K = 3


def parameters(num_channels, seed=0, scale=1.0):
    """For one place: logits [K], means and log scales [C, K], coefficients [C (C − 1) / 2, K]."""
    generator = np.random.default_rng(seed)
    means, log_scales = generator.uniform(-0.9, 0.9, (2, num_channels, K))
    coefficients = generator.uniform(-0.9, 0.9, (num_channels * (num_channels - 1) // 2, K))
    return generator.normal(size=K), means, log_scales - 1.5 + np.log(scale), coefficients


def made(given, num_rows, num_levels=256, dtype="float64"):
    """The distribution of `num_rows` images of one place each."""
    rows = (np.broadcast_to(each, (num_rows, 1, 1, *each.shape)) for each in given)
    return LogisticMixture(*(tf.constant(each, dtype) for each in rows), num_levels)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def twin(numbers, given, num_levels=256):
    """P of one place's levels, `[C]` whole numbers: Eq. 2 and 3, in units where levels lie in −1 … 1."""
    logits, means, log_scales, coefficients = given
    half = 1 / (num_levels - 1)
    levels = 2 * np.asarray(numbers) / (num_levels - 1) - 1
    product = np.exp(logits) / np.exp(logits).sum()
    of_pairs = iter(coefficients)
    for channel, number in enumerate(numbers):
        mean = means[channel] + sum(next(of_pairs) * levels[before] for before in range(channel))
        scale = np.exp(log_scales[channel])
        upper = 1.0 if number == num_levels - 1 else sigmoid((levels[channel] + half - mean) / scale)
        lower = 0.0 if number == 0 else sigmoid((levels[channel] - half - mean) / scale)
        product = product * (upper - lower)
    return product.sum()


def every_image(num_channels, num_levels):
    return np.array(list(itertools.product(range(num_levels), repeat=num_channels)))


def log_probs(numbers, given, num_levels=256, dtype="float64"):
    pixels = (numbers / (num_levels - 1)).astype(dtype)[:, None, None, :]
    return made(given, len(numbers), num_levels, dtype).log_prob(pixels).numpy()


@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-10), ("float32", 1e-5)])
@pytest.mark.parametrize("num_channels", [1, 2, 3, 5])
def test_log_prob(num_channels, dtype, tolerance):
    given = parameters(num_channels)
    numbers = np.random.default_rng(1).integers(0, 256, (40, num_channels))
    numbers[0], numbers[1], numbers[2, 0], numbers[3, -1] = 0, 255, 0, 255
    expected = [np.log(twin(each, given)) for each in numbers]
    np.testing.assert_allclose(log_probs(numbers, given, dtype=dtype), expected, rtol=tolerance)


@pytest.mark.parametrize("scale", [0.003, 1.0, 1e8])
def test_all_256_levels_sum_to_one(scale):
    given = parameters(1, scale=scale)
    assert np.exp(log_probs(every_image(1, 256), given)).sum() == pytest.approx(1.0, abs=1e-11)


@pytest.mark.parametrize(("num_channels", "num_levels"), [(2, 16), (3, 6), (4, 3), (1, 2)])
def test_all_images_of_several_channels_sum_to_one(num_channels, num_levels):
    given = parameters(num_channels)
    total = np.exp(log_probs(every_image(num_channels, num_levels), given, num_levels)).sum()
    assert total == pytest.approx(1.0, abs=1e-12)


def test_far_from_every_component_a_level_keeps_its_digits():
    """There σ(b) − σ(a) is 0 in floating point, and the authors' code has a density instead."""
    given = [np.zeros(1), np.array([[-0.9]]), np.array([[-5.0]]), np.zeros((0, 1))]
    distance, half, scale = 0.9 + 2 * 200 / 255 - 1, 1 / 255, np.exp(-5.0)
    # Both sigmoids are near 1: 1 − σ(x) is exp(−x) there.
    expected = -(distance - half) / scale + np.log1p(-np.exp(-2 * half / scale))
    np.testing.assert_allclose(log_probs(np.array([[200]]), given), [expected], rtol=1e-12)
    np.testing.assert_allclose(log_probs(np.array([[200]]), given, dtype="float32"), [expected], rtol=1e-5)


def exact_mean(given, num_channels, num_levels):
    images = every_image(num_channels, num_levels)
    probabilities = np.exp(log_probs(images, given, num_levels))
    return probabilities @ images / (num_levels - 1)


def mean_of(given, num_levels=256):
    return made(given, 1, num_levels).mean.numpy()[0, 0, 0]


@pytest.mark.parametrize("scale", [0.05, 1.0, 1e8])
def test_the_mean_of_one_channel(scale):
    """Also where black and white cut components off; up to what rounding to levels adds."""
    given = parameters(1, scale=scale)
    np.testing.assert_allclose(mean_of(given), exact_mean(given, 1, 256), atol=1e-4)


def test_the_mean_of_components_narrower_than_a_level_is_off_by_half_a_level_at_most():
    given = parameters(1, scale=1e-4)
    assert abs(mean_of(given) - exact_mean(given, 1, 256)).item() <= 0.5 / 255


def test_the_mean_of_coupled_channels():
    logits, means, log_scales, coefficients = parameters(3, scale=0.1)
    given = logits, 0.3 * means, np.maximum(log_scales, -3.0), coefficients
    np.testing.assert_allclose(mean_of(given, 24), exact_mean(given, 3, 24), atol=2e-3)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_its_gradients_are_finite(dtype):
    edges = np.array(list(itertools.product([-50.0, 0.0, 50.0], [-50.0, 0.0, 50.0, 200.0])))
    means, log_scales = np.broadcast_to(edges.T[..., None, None, None, None], (2, 12, 1, 1, 2, K))
    logits = np.broadcast_to([-50.0, 0.0, 50.0], (12, 1, 1, K))
    given = [logits, means, log_scales, np.full((12, 1, 1, 1, K), 0.9)]
    given = [tf.constant(each, dtype) for each in given]
    for pixels in ([0.0, 1.0], [1.0, 0.0], [0.4, 0.6]):
        with tf.GradientTape() as tape:
            tape.watch(given)
            mixture = LogisticMixture(*given)
            both = mixture.log_prob(np.broadcast_to(pixels, (12, 1, 1, 2)).astype(dtype)), mixture.mean
        assert np.isfinite(both[0]).all()
        assert np.isfinite(both[1]).all()
        for gradient in tape.gradient(both, given):
            assert np.isfinite(gradient).all()


def test_half_precision_is_computed_in_single():
    mixture = made(parameters(3), 2, dtype="bfloat16")
    assert mixture.log_prob(np.zeros((2, 1, 1, 3))).dtype == "float32"
    assert mixture.mean.dtype == "float32"
