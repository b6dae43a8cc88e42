"""`Likelihood`: how a decoder's output becomes a distribution over images."""

import itertools
from typing import Any

import tensorflow as tf

from vaeflow import validation
from vaeflow.distributions import ImageDistribution
from vaeflow.layers.base import Layer

_MOST_LEVELS = 65536  # Of 16 bits; a float32 holds their multiples of 1 / 65535.
_MOST_COUNT = 2**20 - 1  # Up to here a float32 n / N gives back n.


class Likelihood(Layer):
    """Turns a decoder's output into a distribution over images.

    Attributes:
      channels_per_channel: the number of decoder outputs for each channel of an image; override
        `num_outputs` where that is not their product.
      measure: the quantity whose logarithm `log_prob` is: `"probability"` of the pixels;
        `"binary"`, a probability only of pixels that are 0 or 1; `"density"` over their
        values in 0 … 1; None if it is not normalized.
      num_levels: L, where the pixels must be the L levels k / (L − 1), 256 for bytes: training and the
        commands refuse other data, `fit` and `log_prob` take the nearest level. None takes any pixels
        in 0 … 1.
      of_counts: whether a level stands for the count k, so that binarized pixels are refused too.
      of_any_numbers: whether it suits numbers outside of 0 … 1 too, such as latents; its distribution
        has a `draw` then.

    Example:
        @registry.likelihood
        class FixedGaussianLikelihood(Likelihood):
            measure = "density"

            def build(self, input_shape):
                pass

            def distribution(self, outputs):
                return Gaussian(outputs, tf.constant(-2.0, outputs.dtype))
    """

    channels_per_channel: int = 1
    measure: str | None = "probability"
    num_levels: int | None = None
    of_counts: bool = False
    of_any_numbers: bool = False

    def num_outputs(self, num_channels: int) -> int:
        """Returns how many numbers the decoder outputs for each place of images of C channels."""
        return num_channels * self.channels_per_channel

    def num_channels(self, num_outputs: int) -> int:
        """Returns the C of which `num_outputs` makes that number."""
        return next(count for count in itertools.count(1) if self.num_outputs(count) >= num_outputs)

    def distribution(self, outputs: tf.Tensor) -> ImageDistribution:
        """Returns p(x|z).

        Args:
          outputs: the decoder's output, `[B, H, W, num_outputs(C)]`.

        Returns:
          A distribution over `[B, H, W, C]`.
        """
        raise NotImplementedError(f"{type(self).__name__} must implement `distribution`")

    def call(self, outputs: tf.Tensor) -> tf.Tensor:
        """Returns the mean of p(x|z), `[B, H, W, C]`."""
        return self.distribution(outputs).mean

    def add_scalar(self, name: str, initial: float) -> Any:
        """Adds a scalar variable, which no precision policy casts."""
        return self.add_weight(
            name=name,
            shape=(),
            initializer=lambda _, dtype: tf.constant(initial, dtype),
            autocast=False,
        )


def checked_num_levels(name: str, value: object) -> int:
    """Returns the number of levels of pixels that a setting says, if it is from 2 to 65,536."""
    num_levels = validation.positive_integer(name, value, _MOST_LEVELS)
    if num_levels < 2:
        raise ValueError(f"`{name}` must be at least 2, got {num_levels}; bytes have 256")
    return num_levels


def checked_max_count(name: str, value: object) -> int:
    """Returns the count of a pixel of 1 that a setting says, if it is from 1 to 1,048,575."""
    return validation.positive_integer(name, value, _MOST_COUNT)
