"""The gated PixelCNN over codes."""

from typing import Any

import keras
import tensorflow as tf

from vaeflow import registry, validation
from vaeflow.layers.base import CHANNELS_LAST, Layer, Shape, build_chain, build_once
from vaeflow.layers.code_nets.base import CodeNet, Tables


@registry.layer
class PixelCNN(CodeNet):
    """Gated convolutions that see the rows above a place, and what is left of it in its row.

    The gated PixelCNN of van den Oord et al. 2016 (arXiv:1606.05328), sections 2.1 to 2.3, with which van
    den Oord et al. 2017 (arXiv:1711.00937) model the codes of a VQ-VAE. A vertical stack sees all above,
    a horizontal one what is to the left, and gets what the vertical one knows. The maps are shifted and
    padded where the paper masks kernels, which is the same function. Labels enter each gate (Eq. 4).

    The groups of a place share its features; to those of group g the embeddings of the groups before
    it are added, before two dense layers give its logits.

    What a code can depend on is at most `num_layers * (kernel_size // 2) + 1` places away. A draw calls
    the whole net for each code.

    Args:
      num_layers: how many gated layers.
      filters: their number of channels.
      kernel_size: of the convolutions, an odd number.

    Raises:
      ValueError: a setting is out of range.
    """

    def __init__(self, num_layers: int = 8, filters: int = 64, kernel_size: int = 5, **kwargs: Any):
        super().__init__(**kwargs)
        validation.positive_integer("PixelCNN.num_layers", num_layers)
        self.filters = validation.positive_integer("PixelCNN.filters", filters)
        if validation.positive_integer("PixelCNN.kernel_size", kernel_size) % 2 == 0 or kernel_size == 1:
            raise ValueError(f"`PixelCNN.kernel_size` must be an odd number from 3 on, got {kernel_size}")
        self.codes = Tables(filters, 1.0, dtype=self.dtype_policy)
        self.layers = [
            GatedLayer(filters, kernel_size, last=number == num_layers, dtype=self.dtype_policy)
            for number in range(1, num_layers + 1)
        ]
        self.earlier_groups = Tables(filters, 1.0, dtype=self.dtype_policy)
        self.hidden = keras.layers.Dense(filters, "relu")

    def build(self, input_shape: Shape) -> None:
        self.use_shape(input_shape)
        self.codes.table_sizes, self.earlier_groups.table_sizes = self.code_sizes, self.code_sizes[:-1]
        build_once(self.codes, input_shape)
        build_once(self.earlier_groups, input_shape)
        features_shape = (None, *self.map_shape[:2], self.filters)
        for layer in self.layers:
            layer.label_sizes = self.label_sizes
            build_once(layer, features_shape)
        build_chain([self.hidden], features_shape, self.dtype_policy)
        self.heads = [keras.layers.Dense(count) for count in self.code_sizes]
        for head in self.heads:
            build_chain([head], features_shape, self.dtype_policy)

    def call(
        self, codes: Any, labels: tf.Tensor | None = None, training: bool | None = None
    ) -> tuple[tf.Tensor, ...]:
        inputs = tf.reduce_sum(self.codes(codes), axis=-2)
        vertical = tf.pad(inputs, [[0, 0], [1, 0], [0, 0], [0, 0]])[:, :-1]
        horizontal = tf.pad(inputs, [[0, 0], [0, 0], [1, 0], [0, 0]])[:, :, :-1]
        for layer in self.layers:
            vertical, horizontal = layer(vertical, horizontal, labels)
        logits = []
        for group, head in enumerate(self.heads):
            logits.append(head(self.hidden(tf.nn.relu(horizontal))))
            if group + 1 < len(self.heads):
                horizontal += self.earlier_groups.look_up(group, codes[..., group])
        return tuple(logits)


class GatedLayer(Layer):
    """One layer of both stacks (Fig. 2 of arXiv:1606.05328), each `[r, h, w, filters]` to the same.

    Args:
      filters: the number of channels.
      kernel_size: k; the vertical kernel has k // 2 + 1 rows of k, the horizontal one k // 2 + 1 in a row.
      last: whether no layer follows, so that nothing is needed of the vertical stack.

    Attributes:
      label_sizes: how many values each label has, set before `build`.
    """

    label_sizes: tuple[int, ...] = ()

    def __init__(self, filters: int, kernel_size: int, last: bool = False, **kwargs: Any):
        super().__init__(**kwargs)
        self.reach, self.last = kernel_size // 2, last
        rows = kernel_size // 2 + 1
        self.vertical = keras.layers.Conv2D(2 * filters, (rows, kernel_size), **CHANNELS_LAST)
        self.horizontal = keras.layers.Conv2D(2 * filters, (1, rows), **CHANNELS_LAST)
        self.across = keras.layers.Conv2D(2 * filters, 1, **CHANNELS_LAST)
        self.output_layer = keras.layers.Conv2D(filters, 1, **CHANNELS_LAST)
        self.labels = [Tables(2 * filters, dtype=self.dtype_policy) for _ in range(1 if last else 2)]

    def build(self, input_shape: Shape) -> None:
        for layer in (self.vertical, self.horizontal, self.output_layer):
            build_chain([layer], (None, None, None, input_shape[-1]), self.dtype_policy)
        build_chain([self.across], (None, None, None, self.vertical.filters), self.dtype_policy)
        for tables in self.labels:
            tables.table_sizes = self.label_sizes
            build_once(tables, (None, len(self.label_sizes)))

    def call(
        self, vertical: tf.Tensor, horizontal: tf.Tensor, labels: tf.Tensor | None = None
    ) -> tuple[tf.Tensor, tf.Tensor]:
        reach = self.reach
        above = self.vertical(tf.pad(vertical, [[0, 0], [reach, 0], [reach, reach], [0, 0]]))
        left = self.horizontal(tf.pad(horizontal, [[0, 0], [0, 0], [reach, 0], [0, 0]]))
        from_labels = [] if labels is None else [_summed(tables(labels)) for tables in self.labels]
        here = _gated(left + self.across(above), *from_labels[:1])
        if not self.last:
            vertical = _gated(above, *from_labels[1:])
        return vertical, horizontal + self.output_layer(here)


def _gated(features: tf.Tensor, from_labels: Any = 0.0) -> tf.Tensor:
    """Returns tanh(a) σ(b) of the two halves of the channels (Eq. 2, 4)."""
    first, second = tf.split(features + from_labels, 2, axis=-1)
    return tf.tanh(first) * tf.sigmoid(second)


def _summed(vectors: tf.Tensor) -> tf.Tensor:
    """Adds up the vectors of an example's labels, `[r, F, C]`: `[r, 1, 1, C]`."""
    return tf.reduce_sum(vectors, axis=-2)[:, None, None]
