"""The quality of reconstructions: absolute and squared error, signal to noise, structural similarity."""

import math
from typing import Any

import tensorflow as tf

from vaeflow import registry
from vaeflow.metrics.base import Metric
from vaeflow.models.forward import Forward

_LARGEST_WINDOW = 11  # Pixels, with a standard deviation of 1.5, as published.
# Below it the ratio counts as 100 dB: that of equal images is infinite, and no mean could hold it.
_LEAST_SQUARED_ERROR = 1e-10


@registry.metric
class ReconstructionQuality(Metric):
    """Compares images with the mean of p(x|z) at the center of the posterior, without noise.

    `reconstruction_l1` and `reconstruction_mse` are the absolute and the squared error, averaged over
    pixels and channels, in units of the pixels' range 0 … 1. `reconstruction_psnr_db` is the peak
    signal-to-noise ratio −10 log10(MSE) of each image, in dB, at most 100: the mean of these, not the
    ratio of the mean MSE. `reconstruction_ssim` is the structural similarity, averaged
    over pixels and channels, 1 for equal images (Wang, Bovik, Sheikh & Simoncelli 2004,
    IEEE TIP 13(4), Eq. 13). Its Gaussian window of 11 pixels shrinks to the largest odd
    size that fits a smaller image; rows of a table have none. Reconstructions are neither clipped to 0 … 1
    nor rounded to 8 bits.
    """

    needs_latents = True

    def per_example(self, model: Any, forward: Forward) -> dict[str, tf.Tensor]:
        images = forward.images
        reconstruction = tf.cast(model.at_center(forward).reconstruction.mean, images.dtype)
        squared_error = tf.reduce_mean(tf.square(images - reconstruction), axis=[1, 2, 3])
        similarity = {}
        if tuple(images.shape[1:3]) != (1, 1):
            similarity = {"reconstruction_ssim": _structural_similarity(images, reconstruction)}
        return {
            "reconstruction_l1": tf.reduce_mean(tf.abs(images - reconstruction), axis=[1, 2, 3]),
            "reconstruction_mse": squared_error,
            "reconstruction_psnr_db": _decibels(squared_error),
            **similarity,
        }


def _decibels(squared_error: tf.Tensor) -> tf.Tensor:
    """Returns −10 log10 of a mean squared error of pixels whose largest value is 1."""
    return -10.0 / math.log(10.0) * tf.math.log(tf.maximum(squared_error, _LEAST_SQUARED_ERROR))


def _structural_similarity(images: Any, others: tf.Tensor) -> tf.Tensor:
    """Returns the mean SSIM of each pair of images `[b, H, W, C]`: `[b]`, float32."""
    shortest = min(images.shape[1:3])
    window = min(_LARGEST_WINDOW, shortest - (shortest + 1) % 2)
    return tf.image.ssim(images, others, max_val=1.0, filter_size=window, filter_sigma=1.5, k1=0.01, k2=0.03)
