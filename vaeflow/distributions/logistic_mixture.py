"""A mixture of logistic distributions, rounded to the levels of pixels."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from vaeflow.distributions.base import full_precision, sum_per_example
from vaeflow.distributions.levels import level_numbers

_LEAST_LOG_SCALE = -7.0  # As in the authors' code; a scale of 0.12 levels of 256.
_MOST_LOG_SCALE = 20.0  # From here on the mean is at its limit in every precision.


@dataclasses.dataclass(frozen=True)
class LogisticMixture:
    """Pixels of a mixture of K logistic distributions, each the probability of the nearest level.

    Salimans et al. 2017 (arXiv:1701.05517): Eq. 1 and 2 for one channel, and Eq. 3 for the coupling. All
    channels of a place share the component; there the mean of a channel is μ plus a coefficient times the
    pixel of each channel before it. Pixels and parameters are in units where the levels lie in −1 … 1. Other
    than in the authors' code, which replaces small probabilities by a density, the probability of a level
    is exact: σ(b) − σ(a) = σ(b) σ(−a) (1 − exp(a − b)), so it also sums to 1.

    Args:
      logits: the unnormalized log weight of each component, `[B, H, W, K]`.
      means: μ, `[B, H, W, C, K]`.
      log_scales: log s, `[B, H, W, C, K]`; below −7 they count as −7.
      coefficients: those of channel 1 for channel 0, of channel 2 for 0 and 1, …,
        `[B, H, W, C (C − 1) / 2, K]`.
      num_levels: L.
    """

    logits: tf.Tensor
    means: tf.Tensor
    log_scales: tf.Tensor
    coefficients: tf.Tensor
    num_levels: int = 256

    @property
    def mean(self) -> tf.Tensor:
        """The mean before rounding to levels, `[B, H, W, C]`, in 0 … 1.

        Rounding would change it by half a level at most. A channel's is that at the means of the channels
        before it, which is exact unless black or white cuts their components off.
        """
        log_scales = tf.clip_by_value(full_precision(self.log_scales), _LEAST_LOG_SCALE, _MOST_LOG_SCALE)
        pixels: list[Any] = []
        for channel, scale in enumerate(tf.unstack(tf.exp(log_scales), axis=-2)):
            pixels.append(_clipped_mean(self._center(channel, pixels), scale))
        weights: Any = tf.nn.softmax(full_precision(self.logits))
        return 0.5 + 0.5 * tf.reduce_sum(weights[..., None, :] * tf.stack(pixels, axis=-2), axis=-1)

    def log_prob_per_pixel(self, value: tf.Tensor) -> tf.Tensor:
        """Returns log p of all channels of each place, `[B, H, W]`."""
        log_scales = tf.maximum(full_precision(self.log_scales), _LEAST_LOG_SCALE)
        numbers: Any = tf.cast(level_numbers(value, self.num_levels), log_scales.dtype)
        numbers = tf.unstack(numbers[..., None], axis=-2)
        levels = [self._level(number) for number in numbers]
        log_prob: Any = tf.nn.log_softmax(full_precision(self.logits))
        for channel, log_scale in enumerate(tf.unstack(log_scales, axis=-2)):
            center = self._center(channel, levels)
            log_prob += self._log_prob_of_level(numbers[channel], center, log_scale)
        return tf.reduce_logsumexp(log_prob, axis=-1)

    def log_prob(self, value: tf.Tensor) -> tf.Tensor:
        """Returns log p(value) per example, `[B]`."""
        return sum_per_example(self.log_prob_per_pixel(value))

    def _center(self, channel: int, pixels: Sequence[Any]) -> Any:
        """Returns the means of a channel, `[B, H, W, K]`, at pixels in −1 … 1 of the channels before."""
        means: Any = full_precision(self.means)
        coefficients: Any = full_precision(self.coefficients)
        center, first = means[..., channel, :], channel * (channel - 1) // 2
        for before in range(channel):
            center += coefficients[..., first + before, :] * pixels[before]
        return center

    def _level(self, numbers: Any) -> Any:
        """Returns the levels in −1 … 1."""
        return 2.0 * numbers / (self.num_levels - 1) - 1.0

    def _log_prob_of_level(self, numbers: Any, center: Any, log_scale: Any) -> Any:
        """Returns log P of the levels with these numbers, `[B, H, W, 1]`: `[B, H, W, K]`."""
        half_width = 1.0 / (self.num_levels - 1)
        precision = tf.exp(-log_scale)
        distance = self._level(numbers) - center
        log_up_to = -tf.nn.softplus(-(distance + half_width) * precision)
        log_from = -tf.nn.softplus((distance - half_width) * precision)
        width: Any = 2.0 * half_width * precision
        # log(1 − exp(−width)); a narrow one has the series, whose logarithm cannot underflow.
        log_within = tf.where(
            width < 1e-4,
            tf.math.log(tf.constant(2.0 * half_width, width.dtype)) - log_scale - width / 2,
            tf.math.log(-tf.math.expm1(-tf.maximum(width, 1e-4))),
        )
        # What lies beyond black and white belongs to them.
        inner = log_up_to + log_from + log_within
        of_white = tf.where(numbers > self.num_levels - 1.5, log_from, inner)
        return tf.where(numbers < 0.5, log_up_to, of_white)


def _clipped_mean(center: Any, scale: Any) -> Any:
    """Returns the mean of a logistic variable whose values beyond −1 and 1 count as these.

    That is s (softplus((μ + 1) / s) − softplus((μ − 1) / s)) − 1. For a wide one the difference of the two
    is a logarithm near 1.
    """
    width: Any = 2.0 / scale
    narrow = tf.nn.softplus((center + 1.0) / scale) - tf.nn.softplus((center - 1.0) / scale)
    wide = tf.math.log1p(tf.sigmoid((center - 1.0) / scale) * tf.math.expm1(tf.minimum(width, 1.0)))
    return scale * tf.where(width > 1.0, narrow, wide) - 1.0
