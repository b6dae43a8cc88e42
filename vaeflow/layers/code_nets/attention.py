"""A block of a causal transformer: attention to what came before, and dense layers."""

import math
from typing import Any

import keras
import tensorflow as tf

from vaeflow import random
from vaeflow.distributions.base import full_precision
from vaeflow.layers.base import Layer, Shape, build_chain, run_chain

Cache = tuple[tf.Tensor, tf.Tensor]


class TransformerBlock(Layer):
    """Causal self-attention and two dense layers, each added to its input, `[r, N, size]` to the same.

    Vaswani et al. 2017 (arXiv:1706.03762), Eq. 1 and section 3.2.2, 3.3; with the normalization in
    front of each of the two, and GELU, as in Esser et al. 2021 (arXiv:2012.09841).

    Args:
      size: the length of the vectors.
      num_heads: it divides `size`.
      hidden_units: between the two dense layers.
      dropout: see `CausalTransformer`.
      deviation: the standard deviation of the Gaussian that the kernels begin with.
    """

    def __init__(
        self,
        size: int,
        num_heads: int,
        hidden_units: int,
        dropout: float = 0.0,
        deviation: float = 0.02,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.size, self.num_heads, self.dropout = size, num_heads, dropout

        def dense(units: int, activation: str | None = None) -> keras.layers.Layer:
            kernel: Any = keras.initializers.RandomNormal(stddev=deviation)
            return keras.layers.Dense(units, activation, kernel_initializer=kernel)

        self.before_attention = keras.layers.LayerNormalization(epsilon=1e-5)
        self.queries_keys_values = dense(3 * size)
        self.output_layer = dense(size)
        self.mlp = [
            keras.layers.LayerNormalization(epsilon=1e-5),
            dense(hidden_units, "gelu"),
            dense(size),
        ]

    def build(self, input_shape: Shape) -> None:
        build_chain([self.before_attention, self.queries_keys_values], input_shape, self.dtype_policy)
        for blocks in ([self.output_layer], self.mlp):
            build_chain(blocks, input_shape, self.dtype_policy)

    def call(self, features: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        queries, keys, values = self._in_heads(features)  # [r, N, heads, size / heads]
        scores = full_precision(tf.einsum("rqhd,rkhd->rhqk", queries, keys))
        length = tf.shape(features)[1]
        visible = tf.linalg.band_part(tf.ones((length, length), tf.bool), -1, 0)
        weights = _softmax(scores, visible, self.size // self.num_heads)
        seen = tf.einsum("rhqk,rkhd->rqhd", tf.cast(weights, values.dtype), values)
        return self._rest(features, tf.reshape(seen, tf.shape(features)), training)

    def empty_cache(self, num_rows: Any, length: int) -> Cache:
        """Returns room for the keys and the values of `length` positions, `[length, r, size]` each."""
        empty = tf.zeros((length, num_rows, self.size), self.compute_dtype)
        return empty, empty

    def next(self, features: tf.Tensor, cache: Cache, position: tf.Tensor) -> tuple[tf.Tensor, Cache]:
        """Computes one position, where the cache holds those before.

        Args:
          features: of the position, `[r, size]`.
          cache: as `empty_cache` or the last call returned it.
          position: an int32 scalar.

        Returns:
          What `call` gives there, `[r, size]`, and the cache with this position.
        """
        queries, *of_position = self._in_heads(features)  # [r, heads, size / heads]
        known_keys, known_values = (
            tf.tensor_scatter_nd_update(known, [[position]], tf.reshape(new, (1, -1, self.size)))
            for known, new in zip(cache, of_position, strict=True)
        )
        length = known_keys.shape[0]
        keys, values = (
            tf.reshape(each, (length, -1, self.num_heads, self.size // self.num_heads))
            for each in (known_keys, known_values)
        )
        scores = full_precision(tf.einsum("rhd,krhd->rhk", queries, keys))
        weights = _softmax(scores, tf.range(length) <= position, self.size // self.num_heads)
        seen = tf.einsum("rhk,krhd->rhd", tf.cast(weights, values.dtype), values)
        return self._rest(features, tf.reshape(seen, tf.shape(features)), False), (known_keys, known_values)

    def _in_heads(self, features):
        """Returns queries, keys and values `[…, heads, size / heads]`."""
        joint = self.queries_keys_values(self.before_attention(features))
        shape = tf.concat([tf.shape(features)[:-1], [3, self.num_heads, self.size // self.num_heads]], axis=0)
        return tf.unstack(tf.reshape(joint, shape), axis=-3, num=3)

    def _rest(self, features, seen, training):
        features += dropped(self.output_layer(seen), self.dropout, training)
        return features + dropped(run_chain(self.mlp, features), self.dropout, training)


def _softmax(scores: tf.Tensor, visible: tf.Tensor, size: int) -> tf.Tensor:
    """Returns the weights of what is visible, which add up to 1 on the last axis."""
    hidden = tf.constant(float("-inf"), scores.dtype)
    return tf.nn.softmax(tf.where(visible, scores / math.sqrt(size), hidden))


def dropped(features: tf.Tensor, rate: float, training: bool | None) -> tf.Tensor:
    """Sets a part of some features `[r, …]` to 0 in training, and scales the others up."""
    if not training or not rate:
        return features
    noise = random.uniform((tf.shape(features)[0], *features.shape[1:]), "float32")
    return features * tf.cast(noise > rate, features.dtype) / tf.cast(1.0 - rate, features.dtype)
