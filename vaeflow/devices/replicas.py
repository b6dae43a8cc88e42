"""The replicas of a strategy: their number and their values."""

import contextlib
import functools
import threading
from collections.abc import Callable, Iterator
from typing import Any

import tensorflow as tf

from vaeflow.errors import ConfigurationError

_local = threading.local()


def num_replicas() -> int:
    """Returns the number of replicas of the current strategy."""
    return tf.distribute.get_strategy().num_replicas_in_sync


def num_local_replicas(strategy: tf.distribute.Strategy) -> int:
    """Returns the number of a strategy's replicas in this process."""
    if strategy.num_replicas_in_sync == 1:
        return 1  # TensorFlow's default strategy does not list its devices.
    return len(strategy.extended.worker_devices)


def replica_index() -> int | tf.Tensor:
    """Returns the index of this replica among all; 0 outside a replica. A tensor is a scalar int32."""
    context = tf.distribute.get_replica_context()
    return 0 if context is None else context.replica_id_in_sync_group


def own_part(values: Any) -> tf.Tensor:
    """Takes this replica's part of `[B]`, in the order of the  Call it inside a replica."""
    share = values.shape[0] // num_replicas()
    first = replica_index() * share
    return values[first : first + share]


def gather(value: tf.Tensor) -> tf.Tensor:
    """Concatenates `[b, …]` of every replica to `[B, …]`, in the order of the global batch.

    It is differentiable: each replica's part gets its own gradient.
    """
    context = _context_of_several()
    if context is None:
        return value
    gathered = context.all_gather(value, axis=0)
    if value.shape[0] is None:
        return gathered
    # TensorFlow loses the static size, which an objective may read.
    return tf.ensure_shape(gathered, (value.shape[0] * context.num_replicas_in_sync, *value.shape[1:]))


def sum_over_replicas(values: Any, bytes_at_a_time: int = 0) -> Any:
    """Sums each tensor of a structure over the replicas. Call it inside a replica.

    Args:
      values: a nest of tensors.
      bytes_at_a_time: about how many bytes are sent at a time, the last tensors first; 0 for all at once.
    """
    context = _context_of_several()
    if context is None:
        return values
    options = tf.distribute.experimental.CommunicationOptions(bytes_per_pack=bytes_at_a_time)
    return context.all_reduce(tf.distribute.ReduceOp.SUM, values, options)


@contextlib.contextmanager
def compiling_for_one() -> Iterator[None]:
    """Refuses `gather` and `sum_over_replicas` inside, in what XLA compiles for a single replica."""
    before = getattr(_local, "compiles", False)
    _local.compiles = True
    try:
        yield
    finally:
        _local.compiles = before


def _context_of_several():
    """Returns the context of this replica where there are several; None elsewhere."""
    context = tf.distribute.get_replica_context()
    if context is None or context.num_replicas_in_sync == 1:
        return None
    if getattr(_local, "compiles", False):
        raise ConfigurationError(
            "this gathers or sums over the replicas, in the middle of what XLA compiles for one of them; if "
            "it couples the images of a batch, set `couples_examples = True` on the model's class, else set "
            "`train.compile_mode` to 'none'"
        )
    return context


def mean_over_workers(strategy: tf.distribute.Strategy, number: float) -> float:
    """Averages a number over all workers. Every worker must call it, outside a replica."""
    if not isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy):
        return float(number)
    return float(_mean_function(strategy)(tf.constant(float(number), tf.float64)))


@functools.cache
def _mean_function(strategy: tf.distribute.Strategy) -> Callable[[tf.Tensor], tf.Tensor]:
    @tf.function(autograph=False)
    def mean(number):
        # The reduction asks for a tensor's device, which an argument does not have yet.
        numbers = strategy.run(lambda value: sum_over_replicas(tf.identity(value)), (number,))
        return first_replica(strategy, numbers) / strategy.num_replicas_in_sync

    return mean


def of_first_worker(strategy: tf.distribute.Strategy, value: tf.Tensor) -> tf.Tensor:
    """Returns the value that the first worker has, on all. Every worker must call it, outside a replica."""
    if not isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy):
        return value

    @tf.function(autograph=False)
    def sent(value):
        def share(value):
            return sum_over_replicas(tf.where(replica_index() == 0, value, tf.zeros_like(value)))

        return first_replica(strategy, strategy.run(share, (value,)))

    return sent(value)


def first_replica(strategy: tf.distribute.Strategy, structure: Any) -> Any:
    """Takes the first local replica's tensor of each per-replica value in `structure`."""
    return tf.nest.map_structure(lambda value: strategy.experimental_local_results(value)[0], structure)
