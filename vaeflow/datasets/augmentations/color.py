"""Random brightness, contrast, saturation and hue."""

import tensorflow as tf

from vaeflow import random, registry, validation
from vaeflow.datasets.augmentations.base import Augmentation
from vaeflow.errors import ConfigurationError

# The luma of ITU-R BT.601, as for grey images.
_LUMA = (0.299, 0.587, 0.114)


@registry.augmentation
class ColorJitter(Augmentation):
    """Changes brightness, contrast, saturation and hue of each image, in this order.

    Each change is drawn uniformly, and its result clipped to [0, 1]. With x the pixels,
    l = 0.299 R + 0.587 G + 0.114 B their luma, and f from [max(0, 1 − a), 1 + a], where a is the
    setting:

    - brightness: f x
    - contrast: m + f (x − m), where m is the mean of l over the image
    - saturation: l + f (x − l)
    - hue: the hue angle of the HSV model is turned by d, from [−a, a], where 1 is a full turn

    The definitions are those of torchvision's `ColorJitter`, which permutes the four.
    Grey images take brightness and contrast only. An alpha channel is kept.

    Args:
      brightness: a, of at least 0; 0 leaves the brightness as it is.
      contrast: likewise.
      saturation: likewise, for images in colour.
      hue: a, at most 0.5, for images in colour.

    Raises:
      ConfigurationError: all of them are 0, or `hue` is above 0.5.
      ValueError: one is negative or not finite.
    """

    def __init__(
        self, brightness: float = 0.0, contrast: float = 0.0, saturation: float = 0.0, hue: float = 0.0
    ):
        self.brightness = validation.non_negative_number("ColorJitter.brightness", brightness)
        self.contrast = validation.non_negative_number("ColorJitter.contrast", contrast)
        self.saturation = validation.non_negative_number("ColorJitter.saturation", saturation)
        self.hue = validation.non_negative_number("ColorJitter.hue", hue)
        if self.hue > 0.5:
            raise ConfigurationError(f"`ColorJitter.hue` must be at most 0.5, half a turn, got {hue}")
        if not any((self.brightness, self.contrast, self.saturation, self.hue)):
            raise ConfigurationError(
                "ColorJitter changes nothing; set one of `ColorJitter.brightness`, `contrast`, `saturation` "
                "and `hue` above 0"
            )

    def check_shape(self, shape: tuple[int, ...]) -> None:
        for name in ("saturation", "hue"):
            if getattr(self, name) and shape[2] not in (3, 4):
                raise ConfigurationError(
                    f"`ColorJitter.{name}` must be 0 for images of {shape[2]} channels, which have no "
                    f"{name}; got {getattr(self, name)}"
                )

    def augment(self, images: tf.Tensor) -> tf.Tensor:
        colors, *alpha = tf.split(images, [3, 1], axis=3) if images.shape[3] == 4 else [images]
        drawn = random.uniform((images.shape[0], 4, 1, 1, 1), images.dtype)
        if self.brightness:
            colors = _clipped(_factor(drawn[:, 0], self.brightness) * colors)
        if self.contrast:
            mean = tf.reduce_mean(_luma(colors), axis=(1, 2), keepdims=True)
            colors = _clipped(mean + _factor(drawn[:, 1], self.contrast) * (colors - mean))
        if self.saturation:
            luma = _luma(colors)
            colors = _clipped(luma + _factor(drawn[:, 2], self.saturation) * (colors - luma))
        if self.hue:
            colors = _clipped(_turned(colors, self.hue * (2.0 * drawn[:, 3] - 1.0)))
        return tf.concat([colors, *alpha], axis=3) if alpha else colors


def _factor(drawn: tf.Tensor, strength: float) -> tf.Tensor:
    lowest = max(0.0, 1.0 - strength)
    return lowest + drawn * (1.0 + strength - lowest)


def _luma(colors: tf.Tensor) -> tf.Tensor:
    """Returns `[b, H, W, 1]`; of images that are not RGB, the mean of the channels."""
    if colors.shape[3] != 3:
        return tf.reduce_mean(colors, axis=3, keepdims=True)
    return tf.reduce_sum(colors * tf.constant(_LUMA, colors.dtype), axis=3, keepdims=True)


def _turned(colors: tf.Tensor, turns: tf.Tensor) -> tf.Tensor:
    """Turns the hue of RGB images by `[b, 1, 1, 1]` full turns."""
    hue, saturation, value = tf.split(tf.image.rgb_to_hsv(colors), 3, axis=3)
    hue = tf.math.floormod(hue + turns, 1.0)
    return tf.image.hsv_to_rgb(tf.concat([hue, saturation, value], axis=3))


def _clipped(colors: tf.Tensor) -> tf.Tensor:
    return tf.clip_by_value(colors, 0.0, 1.0)
