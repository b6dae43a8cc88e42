"""The graph of a training step, for what is counted in it without running it."""

from collections.abc import Iterable, Iterator
from typing import Any

import tensorflow as tf

from vaeflow.datasets import stored_batches
from vaeflow.training.replica_step import ReplicaStep


def training_step(strategy: tf.distribute.Strategy, replica_step: ReplicaStep) -> Any:
    """Traces one training step on the global batch, on all replicas; it is not run.

    Args:
      strategy: of the model's variables, on one worker.
      replica_step: computes the step.

    Returns:
      A concrete function of the number of the step, int64, that trains on black images.
    """
    num_examples = replica_step.settings.batch_size // strategy.num_replicas_in_sync
    blank = stored_batches.blank_batch(replica_step.split, num_examples, replica_step.model.reads)

    @tf.function(autograph=False)
    def one_step(step):
        result = strategy.run(lambda: replica_step.compute(stored_batches.StoredBatch(blank), step))
        replica_step.apply(strategy, result, step)
        return strategy.experimental_local_results(result.metrics)

    return one_step.get_concrete_function(tf.TensorSpec((), tf.int64))


def needed(graph: Any, wanted: Iterable[int]) -> Iterator[tuple[tf.Operation, list[int]]]:
    """Yields the operations that a graph's outputs at the indices `wanted`, or side effects, need.

    Last ones first, each with the indices of its outputs that are read. TensorFlow does not run the others.
    """
    used = {graph.outputs[index].name for index in wanted}
    needed_names = {operation.name for operation in graph.control_outputs}
    # Each stands after those that it reads.
    for operation in reversed(graph.get_operations()):
        read = [index for index, tensor in enumerate(operation.outputs) if tensor.name in used]
        if not read and operation.name not in needed_names and not operation.op_def.is_stateful:
            continue
        used |= {tensor.name for tensor in operation.inputs}
        needed_names |= {each.name for each in operation.control_inputs}
        yield operation, read


def inside(operation: tf.Operation, read: Iterable[int]) -> list[tuple[Any, list[int]]]:
    """Lists the graphs that a call, a loop or a condition runs, each with its outputs that are read."""
    functions = []
    for attribute in operation.node_def.attr.values():
        functions += [each.name for each in (attribute.func, *attribute.list.func) if each.name]
    # A loop passes everything it computes on to itself.
    everything = range(len(operation.outputs)) if operation.type in ("While", "StatelessWhile") else read
    # TensorFlow has no public way from a name in a graph to its function.
    graphs = [operation.graph._get_function(name).graph for name in functions]  # noqa: SLF001 # pyright: ignore
    return [(graph, [index for index in everything if index < len(graph.outputs)]) for graph in graphs]


def shape_of(operation: tf.Operation, tensor: tf.Tensor) -> list[int]:
    """Returns a tensor's shape.

    Raises:
      ValueError: it is not known before it runs.
    """
    if not tensor.shape.is_fully_defined():
        raise ValueError(
            f"the shape {tensor.shape} of {operation.type} {operation.name!r} is not known before it runs"
        )
    sizes: Any = tensor.shape.as_list()
    return sizes
