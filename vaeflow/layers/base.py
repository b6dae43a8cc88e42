"""The base classes of blocks."""

import math

import keras

from vaeflow.kernels.group_normalization import GroupNormalization
from vaeflow.layers.constructor_config import ConstructorConfig


class Layer(ConstructorConfig, keras.layers.Layer):
    """A `keras.layers.Layer` that serializes its constructor's arguments, nested blocks too.

    A block makes its sub-layers in `__init__`, builds them in `build`, computes in
    `call`, and may `add_loss` a scalar that is a mean over its examples.
    """


class Decoder(Layer):
    """A block from latents `[B, D]` to a tensor `[B, H, W, C]`.

    Args:
      target_shape: `(H, W, C)` of the output. A model sets it, from the images it
        is built for, before it builds the block; give it only when using the block
        alone.
    """

    def __init__(self, target_shape=None, **kwargs):
        super().__init__(**kwargs)
        self.target_shape = target_shape

    def checked_target_shape(self):
        """Returns `target_shape`; raises `ValueError` where nobody has set it."""
        if self.target_shape is None:
            raise ValueError(
                f"`{type(self).__name__}.target_shape` must be (height, width, channels), got None; a model "
                "sets it by itself, give it when using the block alone"
            )
        return tuple(self.target_shape)

    def get_config(self):
        """Returns the constructor's arguments, with the shape that the model has set."""
        return super().get_config() | {"target_shape": self.target_shape and list(self.target_shape)}


def build_once(block, input_shape):
    """Builds a block that is not built yet; one that was loaded from a file is."""
    if not block.built:
        block.build(input_shape)


def build_chain(blocks, input_shape, dtype_policy=None):
    """Builds blocks that feed one another.

    Args:
      blocks: Keras layers, in order.
      input_shape: the shape of the first one's input, with None for the batch.
      dtype_policy: of the block they are parts of, which they take over; None
        leaves each its own.

    Returns:
      The shape of the last one's output.
    """
    shape = tuple(input_shape)
    for block in blocks:
        if dtype_policy is not None:
            block.dtype_policy = dtype_policy
        build_once(block, shape)
        # The trial call also builds what a user's block leaves to its first call.
        shape = tuple(block.compute_output_spec(keras.KerasTensor(shape, dtype=block.compute_dtype)).shape)
    return shape


def run_chain(blocks, value, training=None):
    """Calls blocks one after the other."""
    for block in blocks:
        value = block(value, training=training)
    return value


def normalization_layer(kind, channels):
    """Makes a normalization layer that acts on each example alone.

    Args:
      kind: `"group"` (8 groups, or fewer where 8 does not divide `channels`),
        `"layer"`, or None.
      channels: the number of channels of its input.

    Returns:
      A list of no or one layer.

    Raises:
      ValueError: any other `kind`.
    """
    if kind is None:
        return []
    if kind == "layer":
        return [keras.layers.LayerNormalization()]
    if kind == "group":
        return [GroupNormalization(groups=math.gcd(8, channels))]
    raise ValueError(f"`normalization` must be 'group', 'layer' or None, got {kind!r}")
