"""The base classes of encoders, decoders and every other layer of a model."""

import math
import warnings
from collections.abc import Iterable, Sequence
from typing import Any

import keras
import tensorflow as tf

from vaeflow.errors import user_code
from vaeflow.kernels.group_normalization import GroupNormalization
from vaeflow.kernels.silu import silu
from vaeflow.layers.constructor_config import ConstructorConfig

# With None for the batch, and for each size that is unknown.
Shape = tuple[int | None, ...]
# For Keras' layers of images, which else ask `~/.keras/keras.json`.
CHANNELS_LAST: dict[str, Any] = {"data_format": "channels_last"}


class Layer(ConstructorConfig, keras.layers.Layer):
    """A `keras.layers.Layer` that serializes its constructor's arguments, nested blocks too.

    A subclass makes its sub-layers in `__init__`, builds them in `build` and computes in
    `call`. It needs no `get_config`. It may `add_loss` a scalar that is a mean over its
    examples.

    Example:
        @registry.layer
        class Scaled(Layer):
            def __init__(self, units, factor=0.5, **kwargs):
                super().__init__(**kwargs)
                self.factor = factor
                self.dense = keras.layers.Dense(units)

            def build(self, input_shape):
                self.dense.build(input_shape)

            def call(self, features):
                return self.factor * self.dense(features)

    Attributes:
      num_start_examples: how many training images it asks for; see `start_from_examples`.
      averaged_with: variables that are not trained and that `train.ema_decay` averages with the
        weights, since they fit no other weights, such as a codebook.
    """

    num_start_examples: int = 0
    averaged_with: Sequence[keras.Variable] = ()

    def start_from_examples(self, batch: dict[str, tf.Tensor], model: Any) -> None:
        """Gives variables their initial values from training images, when a run begins.

        The images are the same on all replicas and workers, and noise from `vaeflow.random` is keyed by
        the run's seed. A resumed run takes the values of its checkpoint afterwards.

        Args:
          batch: `images` `[num_start_examples, H, W, C]`, floats in [0, 1], chosen by the run's seed;
            and what the model reads.
          model: the built model, for a block that begins from what other blocks make of images.
        """
        raise NotImplementedError(f"{type(self).__name__} must implement `start_from_examples`")


class Chain(Layer):
    """Layers one after the other, as one layer.

    Args:
      blocks: Keras layers, in order.
    """

    def __init__(self, blocks: Sequence[keras.layers.Layer], **kwargs: Any):
        super().__init__(**kwargs)
        self.blocks = list(blocks)

    def build(self, input_shape: Shape) -> None:
        build_chain(self.blocks, input_shape, self.dtype_policy)

    def call(self, value: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        return run_chain(self.blocks, value, training)


class Decoder(Layer):
    """A layer from latents, `[B, D]` or a map of them `[B, h, w, D]`, to a tensor `[B, H, W, C]`.

    Args:
      target_shape: `(H, W, C)` of the output. A model sets it from its images before it
        builds the layer. Give it only to use the layer alone.

    Attributes:
      latents_rank: how many axes the latents have that it takes, the batch counted: 2, or 4 for a
        map.

    Example:
        @registry.layer
        class LinearDecoder(Decoder):
            def build(self, input_shape):
                shape = self.checked_target_shape()
                self.dense = keras.layers.Dense(math.prod(shape))
                self.dense.build(input_shape)
                self.reshape = keras.layers.Reshape(shape)

            def call(self, latents):
                return self.reshape(self.dense(latents))
    """

    latents_rank: int = 2

    def __init__(self, target_shape: Sequence[int] | None = None, **kwargs: Any):
        super().__init__(**kwargs)
        self.target_shape = target_shape

    def checked_target_shape(self) -> tuple[int, ...]:
        """Returns `target_shape`; raises `ValueError` if it is not set."""
        if self.target_shape is None:
            raise ValueError(
                f"`{type(self).__name__}.target_shape` must be (height, width, channels), got None; a model "
                "sets it, so give it only to use the layer alone"
            )
        return tuple(self.target_shape)

    @property
    def last_kernel(self) -> keras.Variable:
        """The kernel of the layer that outputs the image, where an `Adversary` compares gradients.

        A decoder of yours returns its own, for instance `last_kernel_of(self.blocks)`.

        Raises:
          ConfigurationError: the decoder does not say which it is.
        """
        raise user_code.wrong(
            self,
            "last_kernel",
            "must be the kernel of the layer that outputs the image, and is not defined; define it, "
            "or set `Adversary.adaptive = False`",
        )

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments, with the shape that the model set."""
        return super().get_config() | {"target_shape": self.target_shape and list(self.target_shape)}


def build_once(block: keras.layers.Layer, input_shape: Shape) -> None:
    """Builds a layer unless it is built already, as a layer loaded from a file is."""
    if not block.built:
        with user_code.running(block, "build"), warnings.catch_warnings():
            # Of a layer without `build`; its first call, which `build_chain` makes, builds what it holds.
            warnings.filterwarnings("ignore", r"`build\(\)` was called on layer", UserWarning)
            block.build(input_shape)


def build_chain(
    blocks: Iterable[keras.layers.Layer], input_shape: Shape, dtype_policy: keras.DTypePolicy | None = None
) -> Shape:
    """Builds layers that feed one another.

    Args:
      blocks: Keras layers, in order.
      input_shape: the shape of the first layer's input, with None for the batch.
      dtype_policy: the policy to give to every layer; None leaves each its own.

    Returns:
      The shape of the last layer's output.
    """
    shape = tuple(input_shape)
    for block in blocks:
        if dtype_policy is not None:
            block.dtype_policy = dtype_policy
        build_once(block, shape)
        with user_code.running(block, "call"):
            # This trial call also builds a user's layer that builds itself in its first call.
            output = block.compute_output_spec(keras.KerasTensor(shape, dtype=block.compute_dtype))
        if not isinstance(output, keras.KerasTensor):
            raise user_code.wrong(block, "call", f"must return a tensor, it returned {output!r}")
        shape = tuple(output.shape)
    return shape


def last_kernel_of(blocks: Sequence[keras.layers.Layer]) -> keras.Variable:
    """Returns the kernel of the last of several layers that has one, such as a convolution."""
    last = next(block for block in reversed(blocks) if hasattr(block, "kernel") or isinstance(block, Chain))
    return last_kernel_of(last.blocks) if isinstance(last, Chain) else last.kernel  # pyright: ignore[reportAttributeAccessIssue]


def run_chain(
    blocks: Iterable[keras.layers.Layer], value: tf.Tensor, training: bool | None = None
) -> tf.Tensor:
    """Calls layers one after the other; group normalization and the SiLU after it as one.

    The SiLU is that of `vaeflow.kernels.silu`.
    """
    blocks = list(blocks)
    joined = None
    # Nothing follows the last; there may be no block at all.
    for block, following in zip(blocks, [*blocks[1:], None], strict=False):
        if isinstance(block, GroupNormalization) and _is_silu(following):
            value = block(value, training=training, then_silu=True)
            joined = following
        elif block is joined:
            joined = None
        elif _is_silu(block):
            value = silu(tf.cast(value, block.compute_dtype))
        else:
            value = block(value, training=training)
    return value


def _is_silu(block):
    return type(block) is keras.layers.Activation and block.activation is keras.activations.silu


def normalization_layer(
    kind: str | None, channels: int, num_groups: int = 8, epsilon: float = 1e-3
) -> list[keras.layers.Layer]:
    """Makes a normalization layer that acts on each example alone.

    Args:
      kind: `"group"`, `"layer"`, or None.
      channels: the number of channels of its input.
      num_groups: how many groups; where `channels` is no multiple of it, the largest number that
        divides both.
      epsilon: what is added to the variance of a group.

    Returns:
      A list with the layer; empty if `kind` is None.

    Raises:
      ValueError: `kind` is something else.
    """
    if kind is None:
        return []
    if kind == "layer":
        return [keras.layers.LayerNormalization()]
    if kind == "group":
        return [GroupNormalization(groups=math.gcd(num_groups, channels), epsilon=epsilon)]
    raise ValueError(f"`normalization` must be 'group', 'layer' or None, got {kind!r}")
