"""Multi-scale similarity against NumPy, and which images are too small for it."""

import types

import numpy as np
import pytest
import tensorflow as tf

from vaeflow.errors import ConfigurationError
from vaeflow.metrics import MultiScaleSimilarity

PUBLISHED = np.array([0.0448, 0.2856, 0.3001, 0.2363, 0.1333])


def smoothed(plane):
    """The weighted mean in every window of 11 x 11 that fits, by a separable Gaussian of deviation 1.5."""
    profile = np.exp(-((np.arange(11) - 5.0) ** 2) / (2 * 1.5**2))
    profile /= profile.sum()
    rows = np.apply_along_axis(np.convolve, 0, plane, profile, "valid")
    return np.apply_along_axis(np.convolve, 1, rows, profile, "valid")


def halved(plane):
    """The means of 2 x 2 pixels, where an odd side repeats its last pixel."""
    padded = np.pad(plane, [(0, size % 2) for size in plane.shape], "edge")
    height, width = padded.shape
    return padded.reshape(height // 2, 2, width // 2, 2).mean(axis=(1, 3))


def numpy_similarity(x, y, weights):
    """Wang et al. 2003, Eq. 7, of two planes: luminance (Eq. 1), contrast and structure (Eq. 2, 3)."""
    result = 1.0
    for scale, weight in enumerate(weights):
        mean_x, mean_y = smoothed(x), smoothed(y)
        variance_x, variance_y = smoothed(x**2) - mean_x**2, smoothed(y**2) - mean_y**2
        covariance = smoothed(x * y) - mean_x * mean_y
        luminance = (2 * mean_x * mean_y + 0.01**2) / (mean_x**2 + mean_y**2 + 0.01**2)
        factor = (2 * covariance + 0.03**2) / (variance_x + variance_y + 0.03**2)
        if scale == len(weights) - 1:
            factor = factor * luminance
        result *= max(np.mean(factor), 0.0) ** weight
        x, y = halved(x), halved(y)
    return result


def images(size, channels=1, noise=0.1):
    """Smooth images, and noisy copies that leave 0 … 1."""
    generator = np.random.default_rng(0)
    ramps = np.linspace(0, 1, size[0])[:, None] * np.linspace(0.2, 1, size[1])
    one = np.stack([ramps**power for power in range(1, channels + 1)], axis=-1)[None]
    return one, one + noise * generator.normal(size=one.shape)


def measured(one, other, **arguments):
    """What the metric gives of a model that reconstructs `one` as `other`: its only pair."""
    centred = types.SimpleNamespace(reconstruction=types.SimpleNamespace(mean=tf.constant(other)))
    model = types.SimpleNamespace(at_center=lambda forward: centred)
    forward = types.SimpleNamespace(images=tf.constant(one))
    (pair,) = MultiScaleSimilarity(**arguments).per_example(model, forward).items()
    return pair


def numpy_mean(one, other, weights):
    other = np.clip(other, 0, 1)
    channels = range(one.shape[-1])
    return np.mean([numpy_similarity(one[0, :, :, c], other[0, :, :, c], weights) for c in channels])


def test_five_scales_equal_a_numpy_computation():
    one, other = images((161, 176))
    name, value = measured(one, other)
    assert name == "reconstruction_ms_ssim"
    np.testing.assert_allclose(value, [numpy_mean(one, other, PUBLISHED)], rtol=1e-4)
    assert 0.3 < value[0] < 0.98


@pytest.mark.parametrize(("num_scales", "size"), [(1, (11, 14)), (2, (21, 33)), (3, (64, 45))])
def test_fewer_scales_have_the_first_weights_divided_by_their_sum(num_scales, size):
    one, other = images(size, channels=3)
    name, value = measured(one, other, num_scales=num_scales)
    assert name == f"reconstruction_ms_ssim_{num_scales}_scales"
    weights = PUBLISHED[:num_scales] / PUBLISHED[:num_scales].sum()
    np.testing.assert_allclose(value, [numpy_mean(one, other, weights)], rtol=1e-4)


def test_equal_images_give_1():
    one, _ = images((64, 64))
    np.testing.assert_allclose(measured(one, one, num_scales=3)[1], [1.0], rtol=1e-6)


def test_opposite_structure_counts_as_0():
    one, _ = images((32, 32))
    assert measured(one, 1 - one, num_scales=2)[1][0] == 0


@pytest.mark.parametrize(
    ("size", "num_scales", "advice"),
    [
        ((160, 200), 5, "set `MultiScaleSimilarity.num_scales = 4`, the most that fit"),
        ((64, 64), 5, "images of 64 x 64 pixels are too small: the coarsest scale needs 11 pixels"),
        ((64, 40), 4, "num_scales = 2`"),
        ((8, 8), 1, "leave this metric out"),
    ],
)
def test_images_that_are_too_small_are_refused(size, num_scales, advice):
    one, other = images(size)
    with pytest.raises(ConfigurationError) as caught:
        measured(one, other, num_scales=num_scales)
    assert advice in str(caught.value)


@pytest.mark.parametrize("wrong", [0, 6, 2.0])
def test_another_number_of_scales_is_refused(wrong):
    with pytest.raises(ValueError, match=r"`MultiScaleSimilarity.num_scales` must be"):
        MultiScaleSimilarity(num_scales=wrong)
