"""Computes the peak memory of a training step from its graph, without running it.

Operations are taken in the order in which they were traced: forward, then backward. A tensor is held
from the operation that makes it to the last that reads it, so what the backward pass needs is held until
then. Operations on single elements write into an input that nobody reads any more, and identities and
reshapes share their input, as in TensorFlow.

Not in it: what a convolution needs for itself, copies in another layout, what the allocator wastes,
TensorFlow and Python themselves; and that TensorFlow may run operations in another order, several at a time.
"""

import math
import re
from typing import Any, NamedTuple

import tensorflow as tf

from vaeflow.profiling import graphs
from vaeflow.training.replica_step import ReplicaStep

# Names of operations. The outputs of these are their inputs, in the same memory.
_SHARING = re.compile("ExpandDims|Identity(N)?|PreventGradient|Reshape|Snapshot|Squeeze|StopGradient")
# These overwrite an input of the same size if nothing else reads it.
_IN_PLACE = re.compile(
    "Abs|Cast|Elu|Erf|Exp|Log|Log1p|Neg|Reciprocal|Round|Sign|Square|ZerosLike|(Log)?Softmax|Softsign"
    "|Add(N|V2)?|BiasAdd|Div(NoNan)?|Maximum|Minimum|Mul(NoNan)?|Pow|RealDiv|Select(V2)?|SquaredDifference|Sub"
    "|Xdivy|Xlogy|(Relu|Rsqrt|Sigmoid|Softplus|Sqrt|Tanh)(Grad)?"
)
# These make nothing that counts; a variable that is read is no copy.
_NO_MEMORY = re.compile("Placeholder|Const|ReadVariableOp|Shape|VarHandleOp")


class StepMemory(NamedTuple):
    """Bytes of a training step on one device.

    Attributes:
      weights: of the model, also those that no optimizer trains.
      optimizer: what the optimizers keep of the gradients of former steps.
      working: the most that a step holds beside these: activations and gradients.
    """

    weights: int
    optimizer: int
    working: int

    @property
    def total(self) -> int:
        """All of them."""
        return self.weights + self.optimizer + self.working


def training_step_memory(replica_step: ReplicaStep, traced_step: Any = None) -> StepMemory:
    """Computes the peak memory of one training step on one replica; the step is traced, not run.

    Args:
      replica_step: computes the step.
      traced_step: what `graphs.training_step` returned for it; None to trace it.

    Raises:
      ValueError: the shape of a tensor is not known before it runs.
    """
    if traced_step is None:
        traced_step = graphs.training_step(tf.distribute.get_strategy(), replica_step)
    optimizers = [group.optimizer for group in replica_step.groups.values() if group.optimizer is not None]
    # Groups may share one.
    kept = {id(variable): variable for optimizer in optimizers for variable in optimizer.variables}
    weights = _bytes_of(replica_step.model.variables)
    return StepMemory(weights, _bytes_of(kept.values()), function_peak(traced_step))


def function_peak(concrete_function: Any) -> int:
    """Computes the most bytes that a traced function holds at a time, beside its arguments and variables.

    Args:
      concrete_function: what `tf.function(…).get_concrete_function(…)` returns.

    Raises:
      ValueError: the shape of a tensor is not known before it runs.
    """
    graph = concrete_function.graph
    return _peak(graph, range(len(graph.outputs)))


def _bytes_of(variables):
    return sum(math.prod(each.shape) * tf.as_dtype(each.dtype).size for each in variables)


def _peak(graph, wanted):
    operations = list(graphs.needed(graph, wanted))[::-1]
    # A block of memory has the name of the tensor that was first in it.
    block_of, last_use = {}, {}
    for index, (operation, _) in enumerate(operations):
        for tensor in operation.inputs:
            last_use[block_of[tensor.name]] = index
        shares = _SHARING.fullmatch(operation.type)
        for number, output in enumerate(operation.outputs):
            block_of[output.name] = block_of[operation.inputs[number].name] if shares else output.name
    last_use |= {block_of[graph.outputs[index].name]: len(operations) for index in wanted}
    return _most_held(operations, block_of, last_use)


def _most_held(operations, block_of, last_use):
    """Runs through the operations, with what each makes and frees; returns the most bytes at a time."""
    held, total, peak = {}, 0, 0
    for index, (operation, read) in enumerate(operations):
        made = _made_by(operation, block_of)
        of_inputs = {block_of[tensor.name] for tensor in operation.inputs}
        freed = {block for block in of_inputs if last_use[block] == index and block in held}
        if _IN_PLACE.fullmatch(operation.type):
            for block in list(freed):
                if len(made) == 1 and held[block] == next(iter(made.values())):
                    total -= held.pop(block)
                    freed.remove(block)
                    break
        held |= made
        total += sum(made.values())
        within = max((_peak(*each) for each in graphs.inside(operation, read)), default=0)
        peak = max(peak, total + max(0, within - sum(made.values())))
        for block in freed | {block for block in made if last_use.get(block, index) == index}:
            total -= held.pop(block)
    return peak


def _made_by(operation, block_of):
    """Returns the bytes of the blocks of memory that an operation makes, block -> bytes."""
    if _NO_MEMORY.fullmatch(operation.type):
        return {}
    return {
        output.name: math.prod(graphs.shape_of(operation, output)) * output.dtype.size
        for output in operation.outputs
        if block_of[output.name] == output.name and output.dtype not in (tf.resource, tf.variant, tf.string)
    }
