"""Encoder and decoder of maps with residual blocks and self-attention, as of VQGAN and latent diffusion."""

from collections.abc import Iterable, Sequence
from typing import Any

import keras
import tensorflow as tf

from vaeflow import registry, validation
from vaeflow.errors import ConfigurationError
from vaeflow.kernels.up_sampling import UpSampling2D
from vaeflow.layers.attention import MapAttention
from vaeflow.layers.base import (
    CHANNELS_LAST,
    Chain,
    Decoder,
    Layer,
    Shape,
    build_chain,
    last_kernel_of,
    normalization_layer,
)
from vaeflow.layers.conv import checked_filters
from vaeflow.layers.conv_maps import retraced_sizes
from vaeflow.layers.recompute import recomputed
from vaeflow.layers.resnet import ResidualBlock

# Of the authors' programs.
_ACTIVATION = "silu"
_NORMALIZATION: dict[str, Any] = {"num_groups": 32, "epsilon": 1e-6}


@registry.layer
class AttentionMapEncoder(Layer):
    """Residual stages and self-attention: images `[B, H, W, C]` to a map of features `[B, h, w, F]`.

    The encoder of Esser et al. 2021 (arXiv:2012.09841, appendix, table 7), which Rombach et al. 2022
    (arXiv:2112.10752, appendix E.1) take over: a convolution; stages of residual blocks, each but the
    first after a strided convolution that halves the map; a residual block, attention and another
    residual block; a convolution to F channels. Normalization (in 32 groups) and swish come before each
    convolution. With S stages the downsampling factor is f = 2^(S − 1), and h is H / f.

    For pictures of 256x256 latent diffusion's nets are `filters = (128, 256, 512, 512)` for f = 8, and
    `filters = (128, 128, 256, 256, 512)` with `attention_sizes = (16,)` for f = 16.

    Args:
      filters: the number of channels of each stage, largest map first.
      num_residual_units: how many residual blocks each stage has.
      attention_sizes: heights of maps; in a stage with one of them, attention follows each residual
        block.
      num_features: F; None for the last of `filters`.
      recompute: whether training computes each block again in the backward pass, in place of keeping
        what its gradient needs. Gradients stay the same. For f = 8 at 256x256 in batches of 12 a step
        of both nets holds 8.7 in place of 27.7 GiB for 13 % more operations, both computed; see
        docs/paper_scale.md.

    Raises:
      ConfigurationError: height or width of the images is no multiple of f, or no map has the height
        that `attention_sizes` names.
      ValueError: a setting is out of range.
    """

    def __init__(
        self,
        filters: Sequence[int] = (128, 256, 512),
        num_residual_units: int = 2,
        attention_sizes: Sequence[int] = (),
        num_features: int | None = None,
        recompute: bool = False,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        _take_settings(self, filters, num_residual_units, attention_sizes, recompute)
        if num_features is not None:
            validation.positive_integer("AttentionMapEncoder.num_features", num_features)
        self.num_features = num_features

    def build(self, input_shape: Shape) -> None:
        _check_multiple(self, input_shape[1:3])
        heights = [input_shape[1] // 2**stage for stage in range(len(self.filters))]  # pyright: ignore[reportOptionalOperand]
        _check_attention_sizes(self, heights)
        self.blocks = [_convolution(self.filters[0])]
        for stage, (count, height) in enumerate(zip(self.filters, heights, strict=True)):
            if stage:
                self.blocks.append(_convolution(self.filters[stage - 1], strides=2))
            self.blocks += _stage(self, count, height)
        last = self.filters[-1]
        self.blocks += [*_middle(last), _output(last, self.num_features or last)]
        build_chain(self.blocks, input_shape, self.dtype_policy)

    def call(self, images: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        return _run(self.blocks, images, training, self.recompute)


@registry.layer
class AttentionMapDecoder(Decoder):
    """Self-attention and residual stages: a map `[B, h, w, D]` to `[B, H, W, C]`.

    The decoder of Esser et al. 2021 (arXiv:2012.09841, appendix, table 7), which retraces the sizes of an
    `AttentionMapEncoder` with as many stages: a convolution; a residual block, attention and another
    residual block; stages of residual blocks, each but the first after a doubling of the map
    (nearest neighbours) and a convolution; a convolution to C channels.

    Args:
      filters: the number of channels of each stage, smallest map first.
      num_residual_units: how many residual blocks each stage has; in the authors' programs one more
        than in the encoder.
      attention_sizes, recompute: as for `AttentionMapEncoder`.
      target_shape: `(H, W, C)`, see `Decoder`.

    Raises:
      ConfigurationError: H or W is no multiple of 2^(S − 1) for S stages, or is another multiple of
        the map's; or no map has the height that `attention_sizes` names.
      ValueError: a setting is out of range.
    """

    latents_rank = 4

    def __init__(
        self,
        filters: Sequence[int] = (512, 256, 128),
        num_residual_units: int = 3,
        attention_sizes: Sequence[int] = (),
        recompute: bool = False,
        target_shape: Sequence[int] | None = None,
        **kwargs: Any,
    ):
        super().__init__(target_shape, **kwargs)
        _take_settings(self, filters, num_residual_units, attention_sizes, recompute)

    def build(self, input_shape: Shape) -> None:
        shape = self.checked_target_shape()
        _check_multiple(self, shape[:2])
        heights, _ = retraced_sizes(self, (2,) * (len(self.filters) - 1), input_shape)
        _check_attention_sizes(self, heights)
        self.blocks = [_convolution(self.filters[0]), *_middle(self.filters[0])]
        for stage, (count, height) in enumerate(zip(self.filters, heights, strict=True)):
            if stage:
                doubled = UpSampling2D(2, **CHANNELS_LAST)
                self.blocks.append(Chain([doubled, _convolution(self.filters[stage - 1])]))
            self.blocks += _stage(self, count, height)
        self.blocks.append(_output(self.filters[-1], shape[-1]))
        build_chain(self.blocks, input_shape, self.dtype_policy)

    @property
    def last_kernel(self) -> keras.Variable:
        return last_kernel_of(self.blocks)

    def call(self, latents: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        return _run(self.blocks, latents, training, self.recompute)


def _take_settings(block: Any, filters, num_residual_units, attention_sizes, recompute):
    name = type(block).__name__
    block.filters = checked_filters(f"{name}.filters", filters)
    block.num_residual_units = validation.positive_integer(f"{name}.num_residual_units", num_residual_units)
    block.attention_sizes = validation.positive_integers(f"{name}.attention_sizes", attention_sizes)
    block.recompute = validation.boolean(f"{name}.recompute", recompute)


def _check_multiple(block, sizes):
    """Raises `ConfigurationError` unless each size of the images is a multiple of the downsampling factor."""
    factor = 2 ** (len(block.filters) - 1)
    if any(size is None or size % factor for size in sizes):
        raise ConfigurationError(
            f"{type(block).__name__} has {len(block.filters)} stages, so images must be multiples of "
            f"{factor} pixels high and wide, got {'x'.join(map(str, sizes))}; crop or resize them, or name "
            "fewer `filters`"
        )


def _check_attention_sizes(block, heights):
    unknown = sorted(set(block.attention_sizes) - set(heights))
    if unknown:
        raise ConfigurationError(
            f"`{type(block).__name__}.attention_sizes` names {', '.join(map(str, unknown))}, and its maps "
            f"are {', '.join(map(str, heights))} high; name some of these"
        )


def _convolution(filters, strides=1):
    # With stride 2 and even sizes "same" pads below and on the right only, as the authors do.
    return keras.layers.Conv2D(filters, 3, strides, padding="same", **CHANNELS_LAST)


def _stage(block, filters, height) -> list[keras.layers.Layer]:
    attends = height in block.attention_sizes
    unit = (_residual, lambda _: MapAttention(**_NORMALIZATION)) if attends else (_residual,)
    return [make(filters) for _ in range(block.num_residual_units) for make in unit]


def _middle(filters) -> list[keras.layers.Layer]:
    return [_residual(filters), MapAttention(**_NORMALIZATION), _residual(filters)]


def _residual(filters):
    return ResidualBlock(filters, _ACTIVATION, **_NORMALIZATION)


def _output(channels, filters):
    normalization = normalization_layer("group", channels, **_NORMALIZATION)
    return Chain([*normalization, keras.layers.Activation(_ACTIVATION), _convolution(filters)])


def _run(blocks: Iterable[keras.layers.Layer], value, training, recompute):
    """Calls blocks one after the other; a single convolution, whose gradient needs its input alone, once."""
    for block in blocks:
        if recompute and training and isinstance(block, Layer):
            value = recomputed(block, value, training)
        else:
            value = block(value, training=training)
    return value
