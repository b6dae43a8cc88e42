"""The causal transformer over codes."""

from typing import Any

import keras
import tensorflow as tf

from vaeflow import registry, validation
from vaeflow.layers.base import Shape, build_chain, build_once
from vaeflow.layers.code_nets.attention import TransformerBlock, dropped
from vaeflow.layers.code_nets.base import CodeNet, Tables

_DEVIATION = 0.02


@registry.layer
class CausalTransformer(CodeNet):
    """A transformer that sees the codes before each, as a sequence in their order.

    The decoder of Vaswani et al. 2017 (arXiv:1706.03762, section 3) without an encoder, in the form
    with which Esser et al. 2021 (arXiv:2012.09841, section 3.2) model the codes of a VQGAN: learned
    positions, normalization before attention and dense layers, GELU, weights that begin at
    N(0, 0.02²). The sequence has h · w · G codes; in front stands a learned token, to which the
    embedding of each label is added. The logits of a group have a dense layer of their own.

    In a draw it keeps the keys and values of the codes before, so that each code costs one position.

    Args:
      num_layers: how many blocks.
      num_heads: of the attention; it divides `size`.
      size: the length of the vectors between the blocks.
      mlp_ratio: the width of the dense layers, as a multiple of `size`.
      dropout: the part of the features that is dropped in training, after the embedding, in
        each attention's output and in each block's; the noise is keyed as all noise is.

    Raises:
      ValueError: a setting is out of range.
    """

    def __init__(
        self,
        num_layers: int = 4,
        num_heads: int = 4,
        size: int = 128,
        mlp_ratio: int = 4,
        dropout: float = 0.0,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        for name, value in (("num_layers", num_layers), ("num_heads", num_heads), ("size", size)):
            validation.positive_integer(f"CausalTransformer.{name}", value)
        validation.positive_integer("CausalTransformer.mlp_ratio", mlp_ratio)
        self.dropout = validation.fraction("CausalTransformer.dropout", dropout)
        if size % num_heads:
            raise ValueError(
                f"`CausalTransformer.size` must be divisible by `CausalTransformer.num_heads` ({num_heads}), "
                f"got {size}"
            )
        self.size = size
        self.codes = Tables(size, _DEVIATION, dtype=self.dtype_policy)
        self.labels = Tables(size, _DEVIATION, dtype=self.dtype_policy)
        self.blocks = [
            TransformerBlock(size, num_heads, mlp_ratio * size, dropout, _DEVIATION, dtype=self.dtype_policy)
            for _ in range(num_layers)
        ]
        self.normalization = keras.layers.LayerNormalization(epsilon=1e-5)
        self.initializer: Any = keras.initializers.RandomNormal(stddev=_DEVIATION)

    def build(self, input_shape: Shape) -> None:
        self.use_shape(input_shape)
        self.codes.table_sizes, self.labels.table_sizes = self.code_sizes, self.label_sizes
        build_once(self.codes, input_shape)
        build_once(self.labels, (None, len(self.label_sizes)))
        height, width, num_groups = self.map_shape
        self.length = height * width * num_groups
        self.start = self._vectors(1, "start")
        self.positions = self._vectors(self.length, "positions")
        for block in self.blocks:
            build_once(block, (None, self.length, self.size))
        features_shape = build_chain([self.normalization], (None, self.length, self.size), self.dtype_policy)
        self.heads = [
            keras.layers.Dense(count, use_bias=False, kernel_initializer=self.initializer.clone())
            for count in self.code_sizes
        ]
        for head in self.heads:
            build_chain([head], features_shape, self.dtype_policy)

    def call(
        self, codes: tf.Tensor, labels: tf.Tensor | None = None, training: bool | None = None
    ) -> tuple[tf.Tensor, ...]:
        tokens = tf.reshape(self.codes(codes), (-1, self.length, self.size))
        start = self._start(tf.shape(codes)[0], labels)[:, None]
        features = tf.concat([start, tokens[:, :-1]], axis=1) + tf.cast(self.positions, tokens.dtype)
        features = dropped(features, self.dropout, training)
        for block in self.blocks:
            features = block(features, training=training)
        by_group: Any = tf.reshape(self.normalization(features), (-1, *self.map_shape, self.size))
        return tuple(head(by_group[..., group, :]) for group, head in enumerate(self.heads))

    def begin(self, num_rows: Any, labels: tf.Tensor | None) -> Any:
        """Returns the token that comes next, `[r, size]`, and the keys and values of each block."""
        caches = [block.empty_cache(num_rows, self.length) for block in self.blocks]
        return self._start(num_rows, labels), caches

    def next_logits(self, state: Any, place: tf.Tensor, group: int) -> tuple[tf.Tensor, Any]:
        token, caches = state
        position = place * len(self.code_sizes) + group
        features = token + tf.cast(tf.gather(self.positions, position), token.dtype)
        new_caches = []
        for block, cache in zip(self.blocks, caches, strict=True):
            features, cache = block.next(features, cache, position)
            new_caches.append(cache)
        return self.heads[group](self.normalization(features)), (token, new_caches)

    def observe(self, state: Any, place: tf.Tensor, group: int, codes: tf.Tensor) -> Any:
        return self.codes.look_up(group, codes), state[1]

    def _start(self, num_rows, labels):
        """Returns the token in front of the codes, `[r, size]`."""
        start = tf.repeat(tf.cast(self.start, self.compute_dtype), num_rows, axis=0)
        return start if labels is None else start + tf.reduce_sum(self.labels(labels), axis=-2)

    def _vectors(self, count, name):
        return self.add_weight(shape=(count, self.size), initializer=self.initializer.clone(), name=name)
