"""The structural similarity of reconstructions at several scales."""

from typing import Any

import tensorflow as tf

from vaeflow import registry, validation
from vaeflow.distributions.structural_similarity import WEIGHTS, WINDOW, most_scales, weights_of
from vaeflow.errors import ConfigurationError
from vaeflow.metrics.base import Metric
from vaeflow.models.forward import Forward


@registry.metric
class MultiScaleSimilarity(Metric):
    """The multi-scale structural similarity of images and reconstructions, `reconstruction_ms_ssim`.

    Wang, Simoncelli & Bovik 2003 (Asilomar Conference on Signals, Systems and Computers), Eq. 7: the
    product of the mean of contrast times structure at each scale but the coarsest, and of the mean
    SSIM there, each to the power of its published weight. From one scale to the next, images are
    averaged over 2 x 2 pixels. A negative factor counts as 0, and channels are averaged.
    Reconstructions are the means of p(x|z) at the center of the posterior, clipped to 0 … 1.

    The coarsest scale must hold the window of 11 pixels: five scales need images of 161 pixels or more along
    each side. With fewer scales the finest remain, their weights are divided by their sum, and the
    name says how many, as in `reconstruction_ms_ssim_3_scales`.

    Args:
      num_scales: from 1 to 5.

    Raises:
      ConfigurationError: images are too small for it.
    """

    needs_latents = True

    def __init__(self, num_scales: int = len(WEIGHTS)):
        self.num_scales = validation.positive_integer(
            "MultiScaleSimilarity.num_scales", num_scales, most=len(WEIGHTS)
        )

    def per_example(self, model: Any, forward: Forward) -> dict[str, tf.Tensor]:
        images = forward.images
        self._check_size(images.shape[1:3])
        reconstruction = tf.cast(model.at_center(forward).reconstruction.mean, images.dtype)
        similarity = tf.image.ssim_multiscale(
            images,
            tf.clip_by_value(reconstruction, 0.0, 1.0),
            max_val=1.0,
            power_factors=weights_of(self.num_scales),
            filter_size=WINDOW,
            filter_sigma=1.5,
            k1=0.01,
            k2=0.03,
        )
        suffix = "" if self.num_scales == len(WEIGHTS) else f"_{self.num_scales}_scales"
        return {f"reconstruction_ms_ssim{suffix}": similarity}

    def _check_size(self, size: Any) -> None:
        """Refuses images whose coarsest scale is smaller than the window."""
        most = most_scales(size)
        if self.num_scales > most:
            setting = "MultiScaleSimilarity.num_scales"
            advice = f"set `{setting} = {most}`, the most that fit" if most else "leave this metric out"
            raise ConfigurationError(
                f"`{setting}` is {self.num_scales}, and images of {' x '.join(map(str, size))} pixels are "
                f"too small: the coarsest scale needs {WINDOW} pixels along each side; {advice}"
            )
