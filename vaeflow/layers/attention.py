"""Self-attention over the places of a map."""

from typing import Any

import keras
import tensorflow as tf

from vaeflow.kernels.joint_dense import joint_dense
from vaeflow.layers.base import Layer, Shape, build_chain, normalization_layer


class MapAttention(Layer):
    """Every place of a map looks at all places, `[B, h, w, C]` to the same.

    The non-local block of Esser et al. 2021 (arXiv:2012.09841, appendix, table 7): of the
    normalized features, three linear maps give queries Q, keys K and values V, `[h w, C]`, and
    softmax(Q Kᵀ / √C) V goes through a fourth and is added to the input. There is one head. Keys have
    no bias, which would change nothing. The weights of the attention, (h w)² for each example, are
    float32 at least.

    Args:
      num_groups, epsilon: of the normalization, see `normalization_layer`.
    """

    def __init__(self, num_groups: int = 32, epsilon: float = 1e-6, **kwargs: Any):
        super().__init__(**kwargs)
        self.num_groups = num_groups
        self.epsilon = epsilon

    def build(self, input_shape: Shape) -> None:
        channels: Any = input_shape[-1]
        [self.normalization] = normalization_layer("group", channels, self.num_groups, self.epsilon)
        build_chain([self.normalization], input_shape, self.dtype_policy)
        # A bias of the keys adds the same to all scores of a query, which the softmax cancels: its gradient
        # would be rounding alone, which Adam makes as large as any other.
        self.query, self.value, self.output_layer = (keras.layers.Dense(channels) for _ in range(3))
        self.key = keras.layers.Dense(channels, use_bias=False)
        for layer in (self.query, self.key, self.value, self.output_layer):
            build_chain([layer], (None, channels), self.dtype_policy)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """Tells the shape without a trial call, which in a deep net would take seconds."""
        return input_shape

    def call(self, features: tf.Tensor) -> tf.Tensor:
        sizes: Any = features.shape[1:]
        height, width, channels = sizes
        places = tf.reshape(self.normalization(features), (-1, channels))
        query, value = joint_dense(places, self.query, self.value)
        query, key, value = (
            tf.reshape(each, (-1, height * width, channels)) for each in (query, self.key(places), value)
        )
        scores = tf.matmul(query * channels**-0.5, key, transpose_b=True)
        # In half precision the sum over all places would lose the small weights.
        weights = tf.nn.softmax(tf.cast(scores, tf.float64 if scores.dtype == tf.float64 else tf.float32))
        attended = tf.reshape(tf.matmul(tf.cast(weights, value.dtype), value), (-1, channels))
        return features + tf.reshape(self.output_layer(attended), (-1, height, width, channels))
