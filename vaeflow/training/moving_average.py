"""The moving average of a model's weights, with which it is evaluated."""

import contextlib
from collections.abc import Iterator

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
        self.variables = [tf.Variable(value, trainable=False) for value in self._averaged()]

    def update(self, strategy: tf.distribute.Strategy, num_updates: tf.Tensor) -> None:
        """Moves towards the weights, inside the loop and outside a replica.

        Args:
          strategy: the strategy of the variables.
          num_updates: how often the weights were updated, an integer tensor.
        """
        if self._decay is None:
            return
        # Grows to `decay`, so that the first weights are soon forgotten.
        count = tf.cast(num_updates, tf.float64)
        decay = tf.minimum(tf.constant(self._decay, tf.float64), (1.0 + count) / (10.0 + count))

        def move(average, variable):
            average.assign_sub(tf.cast(1.0 - decay, average.dtype) * (average - variable))

        for average, variable in zip(self.variables, self._averaged(), strict=True):
            strategy.extended.update(average, move, args=(variable,))

    def restart(self) -> None:
        """Takes the weights as they are for the average, outside the loop."""
        for average, variable in zip(self.variables, self._averaged(), strict=True):
            average.assign(variable.numpy())

    @contextlib.contextmanager
    def in_place_of_weights(self) -> Iterator[None]:
        """Replaces the weights with their average, if there is one, inside the `with` block."""
        variables = self._averaged()
        kept = [variable.numpy() for variable in variables]
        for variable, average in zip(variables, self.variables, strict=True):
            variable.assign(average.numpy())
        try:
            yield
        finally:
            for variable, value in zip(variables, kept, strict=True):
                variable.assign(value)

    def _averaged(self):
        if self._decay is None:
            return []
        return [variable.value for variable in self._model.averaged_variables()]
