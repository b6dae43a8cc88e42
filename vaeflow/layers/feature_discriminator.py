"""A discriminator of images whose features measure how alike images are."""

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from vaeflow import registry, validation
from vaeflow.layers.base import CHANNELS_LAST, Layer, Shape, build_chain, normalization_layer, run_chain
from vaeflow.layers.conv import checked_filters
from vaeflow.layers.dense import dense_stack


@registry.layer
class FeatureDiscriminator(Layer):
    """Judges an image as a whole, and shows its features: images `[B, H, W, C]` to logits `[B, 1]`.

    The discriminator of Larsen et al. 2016 (arXiv:1512.09300, table 1), smaller by default: 5x5 convolutions,
    of which all but the first have stride 2, then a dense layer and one that gives the logit, with leaky ReLU
    of slope 0.2. Its features are what the last convolution gives. Images are scaled to −1 … 1 first.

    Deviation: group normalization takes the place of batch normalization; see `PatchDiscriminator`.

    Args:
      filters: the number of filters of each convolution; (32, 128, 256, 256) in the paper.
      units: widths of the dense layers; (512,) in the paper.
      normalization: `"group"`, `"layer"` or None, after each convolution but the first.

    Raises:
      ValueError: a setting is out of range.
    """

    def __init__(
        self,
        filters: Sequence[int] = (32, 64, 128),
        units: Sequence[int] = (256,),
        normalization: str | None = "group",
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        filters = checked_filters("FeatureDiscriminator.filters", filters)
        units = validation.positive_integers("FeatureDiscriminator.units", units)
        validation.one_of("FeatureDiscriminator.normalization", normalization, ("group", "layer", None))
        self.blocks: list[keras.layers.Layer] = []
        for index, count in enumerate(filters):
            stride = 2 if index else 1
            self.blocks.append(keras.layers.Conv2D(count, 5, stride, padding="same", **CHANNELS_LAST))
            self.blocks += normalization_layer(normalization if index else None, count)
            self.blocks.append(keras.layers.Activation("leaky_relu"))
        self.judge = [keras.layers.Flatten(**CHANNELS_LAST), *dense_stack(units, "leaky_relu")]
        # In float32 under mixed precision, since the losses are sensitive to the logits.
        self.logit = keras.layers.Dense(1, dtype=self.variable_dtype)

    def build(self, input_shape: Shape) -> None:
        features_shape = build_chain(self.blocks, input_shape, self.dtype_policy)
        build_chain([self.logit], build_chain(self.judge, features_shape, self.dtype_policy))

    def features(self, images: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        """Returns the features of images, `[B, h, w, F]`."""
        return run_chain(self.blocks, 2.0 * images - 1.0, training)

    def logits(self, features: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        """Returns the logits of images with these features, `[B, 1]`."""
        return self.logit(run_chain(self.judge, features, training))

    def call(self, images: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        return self.logits(self.features(images, training), training)
