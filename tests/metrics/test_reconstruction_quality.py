"""The quality of reconstructions against NumPy."""

import itertools
import types

import numpy as np
import pytest
import tensorflow as tf

from tests.fixtures import numpy_vae
from vaeflow import registry
from vaeflow.metrics import ReconstructionQuality
from vaeflow.models import VAE


def numpy_ssim(image, other, window):
    """Wang et al. 2004, Eq. 13 at every position of a Gaussian window; `[H, W, C]`."""
    offsets = np.arange(window) - window // 2
    profile = np.exp(-(offsets**2) / (2 * 1.5**2))
    weights = np.outer(profile, profile)
    weights /= weights.sum()
    values = []
    height, width, channels = image.shape
    for row, column, channel in itertools.product(
        range(height - window + 1), range(width - window + 1), range(channels)
    ):
        x, y = (pixels[row : row + window, column : column + window, channel] for pixels in (image, other))
        mean_x, mean_y = np.sum(weights * x), np.sum(weights * y)
        variance_x, variance_y = np.sum(weights * (x - mean_x) ** 2), np.sum(weights * (y - mean_y) ** 2)
        covariance = np.sum(weights * (x - mean_x) * (y - mean_y))
        values.append(
            (2 * mean_x * mean_y + 0.01**2)
            * (2 * covariance + 0.03**2)
            / ((mean_x**2 + mean_y**2 + 0.01**2) * (variance_x + variance_y + 0.03**2))
        )
    return np.mean(values)


def measure_quality(model, images):
    """Returns the metric's result in graph mode and the reconstruction at the posterior mean, in NumPy."""

    @tf.function
    def measure(values):
        return ReconstructionQuality().per_example(model, model.forward(values))

    model.build((None, *images.shape[1:]))
    _, _, _, logits = numpy_vae.forward(model, images, 0.0)
    return measure(tf.constant(images, model.variable_dtype)), numpy_vae.sigmoid(logits)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("shape", "window"),
    [
        pytest.param((14, 12, 1), 11, marks=pytest.mark.long),
        ((11, 13, 3), 11),
        ((8, 10, 2), 7),
        ((2, 5, 1), 1),
    ],
)
def test_it_equals_a_numpy_computation(shape, window):
    model = VAE(num_latents=3, **numpy_vae.blocks())
    images = numpy_vae.images(4, shape)
    images[0] = 0.5
    results, expected = measure_quality(model, images)
    assert {name.removeprefix("reconstruction_") for name in results} == {"l1", "mse", "psnr_db", "ssim"}
    mse = np.mean((images - expected) ** 2, axis=(1, 2, 3))
    np.testing.assert_allclose(results["reconstruction_mse"], mse, rtol=1e-5)
    np.testing.assert_allclose(
        results["reconstruction_psnr_db"], 10 * np.log10(1 / np.maximum(mse, 1e-10)), rtol=1e-5
    )
    absolute = np.mean(np.abs(images - expected), axis=(1, 2, 3))
    np.testing.assert_allclose(results["reconstruction_l1"], absolute, rtol=1e-5)
    ssim = [numpy_ssim(image, other, window) for image, other in zip(images, expected)]
    np.testing.assert_allclose(results["reconstruction_ssim"], ssim, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_the_noise_of_the_latents_does_not_matter():
    model = VAE(num_latents=3, **numpy_vae.blocks())
    images = numpy_vae.images(4, (8, 8, 1))
    (one, _), (other, _) = measure_quality(model, images), measure_quality(model, images)
    for name in one:
        np.testing.assert_array_equal(one[name], other[name])


@pytest.mark.slow
def test_float64_models_are_measured_in_float64():
    model = VAE(num_latents=3, dtype="float64", **numpy_vae.blocks(dtype="float64"))
    images = numpy_vae.images(4, (8, 8, 1))
    results, expected = measure_quality(model, images)
    mse = np.mean((images - expected) ** 2, axis=(1, 2, 3))
    np.testing.assert_allclose(results["reconstruction_mse"], mse, rtol=1e-12)


def test_the_ratio_of_equal_images_counts_as_100_decibels():
    zeros = tf.zeros((1, 8, 8, 1))
    same = types.SimpleNamespace(reconstruction=types.SimpleNamespace(mean=zeros))
    model = types.SimpleNamespace(at_center=lambda forward: same)
    results = ReconstructionQuality().per_example(model, types.SimpleNamespace(images=zeros))
    np.testing.assert_allclose(results["reconstruction_psnr_db"], [100.0], rtol=1e-6)


def test_it_is_registered():
    assert registry.get("ReconstructionQuality").target is ReconstructionQuality
