"""The discriminator of images: a classifier of patches."""

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from vaeflow import registry, validation
from vaeflow.layers.base import CHANNELS_LAST, Layer, Shape, build_chain, normalization_layer, run_chain
from vaeflow.layers.conv import checked_filters

_KERNEL_SIZE = 4
_INITIAL_SPREAD = 0.02


@registry.layer
class PatchDiscriminator(Layer):
    """Judges overlapping patches of an image, each alone: images `[B, H, W, C]` to logits `[B, h, w]`.

    The PatchGAN of Isola et al. 2017 (arXiv:1611.07004, section 3.2.2, appendix 6.1.2): 4x4
    convolutions, all with stride 2 but the last of `filters` and the one that gives the logits,
    leaky ReLU with slope 0.2, and weights that begin as N(0, 0.02²). The default sees patches of
    70x70. Images are scaled to −1 … 1 first.

    Deviations: group normalization takes the place of batch normalization, which would make the
    logits of an image depend on the others of its batch, and so on the replicas and parts that
    share them; and all convolutions pad as TensorFlow's `"same"`.

    Args:
      filters: the number of filters of each convolution before the logits.
      normalization: `"group"`, `"layer"` or None, after each of them but the first.

    Raises:
      ValueError: a setting is out of range.
    """

    def __init__(
        self, filters: Sequence[int] = (64, 128, 256, 512), normalization: str | None = "group", **kwargs: Any
    ):
        super().__init__(**kwargs)
        filters = checked_filters("PatchDiscriminator.filters", filters)
        validation.one_of("PatchDiscriminator.normalization", normalization, ("group", "layer", None))
        self.blocks: list[keras.layers.Layer] = []
        for index, count in enumerate(filters):
            self.blocks.append(_convolution(count, 2 if index < len(filters) - 1 else 1))
            self.blocks += normalization_layer(normalization if index else None, count)
            self.blocks.append(keras.layers.Activation("leaky_relu"))
        # In float32 under mixed precision, since the losses are sensitive to the logits.
        self.logits = _convolution(1, 1, dtype=self.variable_dtype)

    def build(self, input_shape: Shape) -> None:
        build_chain([self.logits], build_chain(self.blocks, input_shape, self.dtype_policy))

    def call(self, images: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        return tf.squeeze(self.logits(run_chain(self.blocks, 2.0 * images - 1.0, training)), axis=-1)


def _convolution(filters, stride, **kwargs):
    # An initializer of its own for each, since one with a seed gives equal shapes equal values.
    initializer: Any = keras.initializers.RandomNormal(stddev=_INITIAL_SPREAD)
    return keras.layers.Conv2D(
        filters,
        _KERNEL_SIZE,
        stride,
        padding="same",
        kernel_initializer=initializer,
        **CHANNELS_LAST,
        **kwargs,
    )
