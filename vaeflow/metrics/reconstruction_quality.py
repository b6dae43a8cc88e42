"""The quality of reconstructions: squared error and structural similarity."""

from typing import Any

import tensorflow as tf

from vaeflow import registry
from vaeflow.metrics.base import Metric
from vaeflow.models.forward import Forward

_LARGEST_WINDOW = 11  # Pixels, with a standard deviation of 1.5, as published.


@registry.metric
class ReconstructionQuality(Metric):
    """Compares images with the mean of p(x|z) at the center of the posterior, without noise.

    `reconstruction_mse` is the squared error, averaged over pixels and channels, in units
    of the pixels' range 0 … 1. `reconstruction_ssim` is the structural similarity, averaged
    over pixels and channels, 1 for equal images (Wang, Bovik, Sheikh & Simoncelli 2004,
    IEEE TIP 13(4), Eq. 13). Its Gaussian window of 11 pixels shrinks to the largest odd
    size that fits a smaller image.
    """

    needs_latents = True

    def per_example(self, model: Any, forward: Forward) -> dict[str, tf.Tensor]:
        images = forward.images
        reconstruction = tf.cast(model.at_center(forward).reconstruction.mean, images.dtype)
        return {
            "reconstruction_mse": tf.reduce_mean(tf.square(images - reconstruction), axis=[1, 2, 3]),
            "reconstruction_ssim": _structural_similarity(images, reconstruction),
        }


def _structural_similarity(images: Any, others: tf.Tensor) -> tf.Tensor:
    """Returns the mean SSIM of each pair of images `[b, H, W, C]`: `[b]`, float32."""
    shortest = min(images.shape[1:3])
    window = min(_LARGEST_WINDOW, shortest - (shortest + 1) % 2)
    return tf.image.ssim(images, others, max_val=1.0, filter_size=window, filter_sigma=1.5, k1=0.01, k2=0.03)
