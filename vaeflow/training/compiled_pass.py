"""XLA on each of several replicas: it compiles what lies between reading the weights and summing gradients.

XLA compiles for one device. What it compiles cannot sum over replicas, and on a logical CPU other than
the first it cannot even read its own variables (https://www.tensorflow.org/xla/known_issues, "tf.Variable on
a different device"). So each replica reads its weights before, the tensors stand in for the variables
inside, and all that a pass gives leaves the compiled function as outputs.
"""

import functools
from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from vaeflow.devices import cores, replicas
from vaeflow.errors import ConfigurationError
from vaeflow.models.base import Model
from vaeflow.training.loss_shares import Probe

# Takes the gradients of some examples: (batch, first position) -> (a nest of tensors, the updates).
Gradients = Callable[[dict[str, tf.Tensor], Any], tuple[Any, dict[str, Any]]]

_REMEDY = "set `train.compile_mode` to 'none' or 'auto'"


class CompiledPass:
    """Takes the gradients of a replica's examples with XLA.

    Where nothing couples the examples, one compiled function holds the whole pass, forward and backward.
    An objective that couples them gathers from the other replicas in its middle. There each block that
    `Model.in_parts` calls (encoder, decoder …) is compiled on its own, forward and backward, and what
    lies between them is run by TensorFlow.

    Args:
      model: a built model.
      probe: what `ReplicaStep.probe` returned.

    Raises:
      ConfigurationError: a block normalizes over the batch of all replicas, or blocks track losses
        in a model whose objective couples the examples.
    """

    def __init__(self, model: Model, probe: Probe):
        if probe.normalizes_over_batch:
            raise ConfigurationError(
                "`train.compile_mode` 'step' cannot compile BatchNormalization(synchronized=True) on several "
                f"replicas, since XLA compiles for one device; {_REMEDY}, or use GroupNormalization"
            )
        if probe.coupling and probe.has_block_losses:
            raise ConfigurationError(
                "`train.compile_mode` 'step' compiles single blocks on several replicas here, since "
                f"{probe.coupling} couples the whole batch, and losses that blocks track cannot leave them; "
                f"{_REMEDY}"
            )
        self._model = model
        self._compiles_whole = probe.coupling is None

    def of(self, gradients_of: Gradients) -> Gradients:
        """Returns a function that computes the same with XLA; call both inside a replica.

        Args:
          gradients_of: traced once for all parts of one shape.
        """
        return self._whole(gradients_of) if self._compiles_whole else self._by_blocks(gradients_of)

    def _whole(self, gradients_of):
        variables = self._model.variables
        traced: list[Any] = []  # The updates, and the variables that the pass changes.

        @functools.partial(tf.function, jit_compile=True, autograph=False)
        def compiled(weights, batch, first_position):
            with replicas.compiling_for_one(), _standing_in(variables, weights) as scope:
                sums, updates = gradients_of(batch, first_position)
            changed = _changed(variables, weights, scope)
            traced[:] = updates, [variable for variable, _ in changed]
            return sums, [value for _, value in changed]

        def compute(batch, first_position):
            sums, values = compiled(_read(variables), batch, tf.convert_to_tensor(first_position))
            updates, changed = traced
            for variable, value in zip(changed, values, strict=True):
                variable.assign(value)
            return sums, updates

        return compute

    def _by_blocks(self, gradients_of):
        variables = self._model.variables

        def compute(batch, first_position):
            weights = _read(variables)
            with _standing_in(variables, weights) as scope, cores.compiling_blocks():
                results = gradients_of(batch, first_position)
            for variable, _ in _changed(variables, weights, scope):
                raise ConfigurationError(
                    f"a block assigns to {variable.path} in its `call`, which XLA cannot compile here on "
                    f"several replicas; name the change in `Model.updates`, or {_REMEDY}"
                )
            return results

        return compute


def _read(variables):
    """Returns the values of this replica's copies of Keras variables."""
    return [tf.convert_to_tensor(variable.value) for variable in variables]


def _standing_in(variables, weights):
    """Makes tensors stand in for Keras variables inside a `with` block; losses of blocks are kept there."""
    return keras.StatelessScope(list(zip(variables, weights, strict=True)), collect_losses=True)


def _changed(variables, weights, scope):
    """Lists the variables to which a pass has assigned, each with its new value."""
    values = [scope.get_current_value(variable) for variable in variables]
    return [
        (variable, value)
        for variable, weight, value in zip(variables, weights, values, strict=True)
        if value is not weight
    ]
