"""The base class of nets over codes, and how codes and labels enter one."""

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from vaeflow.errors import ConfigurationError
from vaeflow.layers.base import Layer, Shape


class CodeNet(Layer):
    """A net from a map of codes, int32 `[r, h, w, G]`, to the logits of each code given those before it.

    The order is that of the places, row by row, and in a place that of its G groups.

    A subclass implements `build` and `call`. Draws ask for one code after the other: `begin`, then
    for each code in its order `next_logits` and `observe`. Here these call the whole net for
    each code; a net that can keep what it has computed overrides the three.

    Attributes:
      code_sizes: K_1 … K_G, how many codes each group has; the model sets it before it builds the net.
      label_sizes: how many values each label of an example has; empty for a net without labels.
        The model sets it too.
    """

    code_sizes: tuple[int, ...] = ()
    label_sizes: tuple[int, ...] = ()

    def call(
        self, codes: tf.Tensor, labels: tf.Tensor | None = None, training: bool | None = None
    ) -> tuple[tf.Tensor, ...]:
        """Returns the logits of each group, `[r, h, w, K_g]`.

        Args:
          codes: int32 `[r, h, w, G]`.
          labels: int64 `[r, F]`; None for a net without labels.
          training: whether it behaves as in training.
        """
        raise NotImplementedError(f"{type(self).__name__} must implement `call`")

    def begin(self, num_rows: Any, labels: tf.Tensor | None) -> Any:
        """Returns the state before the first code is drawn, a nest of tensors.

        Args:
          num_rows: r, an int or scalar tensor.
          labels: as for `call`.
        """
        codes = tf.zeros((num_rows, *self.map_shape), tf.int32)
        return (codes,) if labels is None else (codes, labels)

    def next_logits(self, state: Any, place: tf.Tensor, group: int) -> tuple[tf.Tensor, Any]:
        """Returns the logits of the code that follows, `[r, K_g]`, and the state.

        Args:
          state: of `begin`, `next_logits` or `observe`.
          place: the number of its place, row by row, an int32 scalar.
          group: the number of its group, from 0 on.
        """
        logits = self(*state)[group]
        flat = tf.reshape(logits, (tf.shape(logits)[0], -1, logits.shape[-1]))
        return tf.gather(flat, place, axis=1), state

    def observe(self, state: Any, place: tf.Tensor, group: int, codes: tf.Tensor) -> Any:
        """Returns the state after the codes int32 `[r]` were drawn there."""
        drawn, *labels = state
        height, width, num_groups = self.map_shape
        here = tf.one_hot(place * num_groups + group, height * width * num_groups, dtype=tf.int32)
        return (drawn + codes[:, None, None, None] * tf.reshape(here, self.map_shape), *labels)

    def use_shape(self, input_shape: Shape) -> None:
        """Notes the shape `(None, h, w, G)` that the net is built for; call it first in `build`."""
        if not self.code_sizes:
            raise ConfigurationError(
                f"`{type(self).__name__}.code_sizes` must say how many codes each group has; a `CodePrior` "
                "sets it, so set it only to build the net alone"
            )
        self.map_shape: Any = tuple(input_shape[1:])

    def get_build_config(self) -> dict[str, Any]:
        """Returns what `build` needs to know, for Keras' files."""
        sizes = {"code_sizes": list(self.code_sizes), "label_sizes": list(self.label_sizes)}
        return (super().get_build_config() or {}) | sizes

    def build_from_config(self, config: dict[str, Any]) -> None:
        """Builds the net as it was when Keras saved it."""
        self.code_sizes, self.label_sizes = tuple(config["code_sizes"]), tuple(config["label_sizes"])
        super().build_from_config(config)


class Tables(Layer):
    """A table of vectors for each column of some integers `[…, F]`: `[…, F, size]`.

    Args:
      size: the length of a vector.
      deviation: the standard deviation of the Gaussian that the tables begin with.

    Attributes:
      table_sizes: how many vectors each table has, set before `build`.
    """

    table_sizes: Sequence[int] = ()

    def __init__(self, size: int, deviation: float = 0.02, **kwargs: Any):
        super().__init__(**kwargs)
        self.size = size
        self.initializer = keras.initializers.RandomNormal(stddev=deviation)

    def build(self, input_shape: Shape) -> None:
        # A new seed for each, since an initializer keeps its own.
        self.tables = [
            self.add_weight(
                shape=(count, self.size), initializer=self.initializer.clone(), name=f"table_{column}"
            )
            for column, count in enumerate(self.table_sizes)
        ]

    def call(self, values: Any) -> tf.Tensor:
        columns = [self.look_up(column, values[..., column]) for column in range(len(self.tables))]
        return tf.stack(columns, axis=-2)

    def look_up(self, column: int, values: tf.Tensor) -> tf.Tensor:
        """Returns the vectors of one column's integers, `[…]`: `[…, size]`."""
        return _rows(tf.cast(self.tables[column], self.compute_dtype), values)


def _rows(table: tf.Tensor, indices: tf.Tensor) -> tf.Tensor:
    """Gathers rows of a table; the gradient is a product of matrices, which adds in a fixed order."""

    @tf.custom_gradient
    def gathered(table):
        def gradient(upstream):
            flat = tf.reshape(upstream, (-1, table.shape[1]))
            chosen = tf.one_hot(tf.reshape(indices, [-1]), table.shape[0], dtype=flat.dtype)
            return tf.matmul(chosen, flat, transpose_a=True)

        return tf.gather(table, indices), gradient

    return gathered(table)  # pyright: ignore[reportReturnType]
