"""The moving average of a model's weights, with which it is evaluated."""

import contextlib
from collections.abc import Iterator
from typing import Any

import tensorflow as tf

from vaeflow.models.base import Model


class MovingAverage:
    """The exponential moving average of a model's weights; see `Model.averaged_variables`.

    Args:
      model: a built model; make the average in the strategy's scope, too.
      decay: which share of the average each step keeps, or None for no average.

    Attributes:
      variables: TensorFlow's, one for each weight that is averaged; none where `decay` is None.
    """

    def __init__(self, model: Model, decay: float | None):
        self._model = model
        self._decay = decay
        self._strategy = tf.distribute.get_strategy()
        self.variables = [tf.Variable(value, trainable=False) for value in self._averaged()]

    def update(self, num_updates: tf.Tensor, applies: Any = None) -> None:
        """Moves towards the weights, inside the loop and outside a replica.

        Args:
          num_updates: how often the weights were updated, an integer tensor.
          applies: whether the average moves, a scalar of type bool on each replica; None where it does.
        """
        if self._decay is None:
            return
        # Grows to `decay`, so that the first weights are soon forgotten.
        count = tf.cast(num_updates, tf.float64)
        decay = tf.minimum(tf.constant(self._decay, tf.float64), (1.0 + count) / (10.0 + count))

        def move(average, variable, applies):
            change = tf.cast(1.0 - decay, average.dtype) * (average - variable)
            if applies is not None:
                change = tf.where(applies, change, tf.zeros_like(change))
            average.assign_sub(change)

        for average, variable in zip(self.variables, self._averaged(), strict=True):
            self._strategy.extended.update(average, move, args=(variable, applies))

    def restart(self) -> None:
        """Takes the weights as they are for the average, outside the loop."""
        for average, variable in zip(self.variables, self._averaged(), strict=True):
            average.assign(variable.numpy())

    @contextlib.contextmanager
    def in_place_of_weights(self) -> Iterator[None]:
        """Exchanges the weights and their average, if there is one, inside the `with` block."""
        self._exchange()
        try:
            yield
        finally:
            self._exchange()

    def _exchange(self):
        """Exchanges both on the devices, without a copy: variables exchange the buffers of their values."""
        for average, variable in zip(self.variables, self._averaged(), strict=True):
            self._strategy.extended.update(average, _exchange, args=(variable,))

    def _averaged(self):
        if self._decay is None:
            return []
        return [variable.value for variable in self._model.averaged_variables()]


def _exchange(one, other):
    value = tf.identity(one)
    one.assign(other)
    other.assign(value)
