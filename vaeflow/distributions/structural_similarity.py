"""Images scored by their multi-scale structural similarity and by L1."""

import dataclasses
import functools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from vaeflow.distributions.base import full_precision

# β and γ of each scale, the finest first (Wang et al. 2003, section 3.2).
WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
WINDOW = 11  # Pixels, with a standard deviation of 1.5.
_SIGMA = 1.5
_LUMINANCE, _STRUCTURE = 0.01**2, 0.03**2  # C1 and C2 for pixels in 0 … 1.
# Below it a factor counts as this: 0 to a power below 1 has no gradient.
_SMALLEST_FACTOR = 1e-4


def weights_of(num_scales: int) -> tuple[float, ...]:
    """Returns the weights of the finest scales, which add up to 1."""
    chosen = WEIGHTS[:num_scales]
    return tuple(weight / sum(chosen) for weight in chosen)


def most_scales(size: Sequence[int]) -> int:
    """Returns how many scales images of a height and width have: the coarsest must hold the window."""
    # Halved, and rounded up, from each scale to the next.
    return sum(-(-min(size) // 2**scale) >= WINDOW for scale in range(len(WEIGHTS)))


@dataclasses.dataclass(frozen=True)
class StructuralSimilarity:
    """Scores images by exp(−[α (1 − MS-SSIM) + (1 − α) mean |x − x̂|] · P / b), which is no density.

    P is how many numbers an image has, so the score is a sum over them, as that of other likelihoods is. With
    α = 0 it is a Laplace distribution without its constants.

    Args:
      mean: x̂, `[B, H, W, C]`.
      alpha: α, from 0 to 1.
      scale: b.
      num_scales: of the similarity.
    """

    mean: tf.Tensor
    alpha: float
    scale: float
    num_scales: int

    def log_prob(self, value: tf.Tensor) -> tf.Tensor:
        """Returns the score of images per example, `[B]`."""
        mean: Any = full_precision(self.mean)
        value = tf.cast(value, mean.dtype)
        distance = tf.reduce_mean(tf.abs(value - mean), axis=[1, 2, 3])
        unlike = 1 - multi_scale_similarity(value, mean, self.num_scales)
        num_numbers = math.prod(mean.shape[1:])
        return -(self.alpha * unlike + (1 - self.alpha) * distance) * num_numbers / self.scale


def multi_scale_similarity(one: Any, other: Any, num_scales: int) -> tf.Tensor:
    """Returns the MS-SSIM of pairs of images, `[B]`, with a finite gradient everywhere.

    Wang, Simoncelli & Bovik 2003 (Asilomar Conference on Signals, Systems and Computers), Eq. 7, as the
    metric `MultiScaleSimilarity` measures it, for pixels in 0 … 1: but a factor below 1e-4, also a negative
    one, counts as that. TensorFlow's `ssim_multiscale` raises 0 to a power below 1 there, and its gradient
    is not a number.

    Args:
      one: `[B, H, W, C]`, floats.
      other: the same.
      num_scales: at most `most_scales`.
    """
    product = tf.ones((), one.dtype)
    for number, weight in enumerate(weights_of(num_scales)):
        if number:
            one, other = _halved(one), _halved(other)
        luminance, structure = _compared(one, other)
        places = luminance * structure if number == num_scales - 1 else structure
        factor = tf.maximum(tf.reduce_mean(places, axis=[1, 2]), _SMALLEST_FACTOR)
        product *= factor**weight
    return tf.reduce_mean(product, axis=1)


def _compared(one, other):
    """Returns luminance, and contrast times structure, where the window fits, `[B, h, w, C]` each."""
    moments = tf.concat([one, other, one * other, tf.square(one) + tf.square(other)], axis=3)
    window = tf.constant(_window(), moments.dtype)
    for shape in ((WINDOW, 1, 1, 1), (1, WINDOW, 1, 1)):
        kernel = tf.repeat(tf.reshape(window, shape), moments.shape[3], axis=2)
        moments = tf.nn.depthwise_conv2d(moments, kernel, (1, 1, 1, 1), "VALID")
    mean, other_mean, product, squares = tf.split(moments, 4, axis=3)
    means, mean_squares = 2 * mean * other_mean, tf.square(mean) + tf.square(other_mean)
    luminance = (means + _LUMINANCE) / (mean_squares + _LUMINANCE)
    return luminance, (2 * product - means + _STRUCTURE) / (squares - mean_squares + _STRUCTURE)


def _halved(images):
    """Averages over 2 x 2 pixels; of an odd number of rows or columns the last counts twice."""
    odd = [size % 2 for size in images.shape[1:3]]
    images = tf.pad(images, ((0, 0), (0, odd[0]), (0, odd[1]), (0, 0)), "SYMMETRIC")
    return tf.nn.avg_pool2d(images, 2, 2, "VALID")


@functools.cache
def _window() -> Any:
    """Returns the weights of the window along one axis, which add up to 1."""
    places = np.arange(WINDOW) - (WINDOW - 1) / 2
    weights = np.exp(-(places**2) / (2 * _SIGMA**2))
    return weights / weights.sum()
