"""What a replica needs to know of the others: how many there are, and their values."""

import functools

import tensorflow as tf


def num_replicas():
    """The number of replicas of the strategy in force, an int."""
    return tf.distribute.get_strategy().num_replicas_in_sync


def num_local_replicas(strategy):
    """The number of a strategy's replicas in this process, an int."""
    return len(strategy.extended.worker_devices)


def replica_index():
    """The index of this replica among all, an int or scalar int32 tensor; 0 outside one."""
    context = tf.distribute.get_replica_context()
    return 0 if context is None else context.replica_id_in_sync_group


def gather(value):
    """Concatenates `[b, …]` of every replica to `[B, …]`, in the order of the global batch.

    It is differentiable: the gradient reaches each replica's own part.
    """
    context = tf.distribute.get_replica_context()
    if context is None or context.num_replicas_in_sync == 1:
        return value
    gathered = context.all_gather(value, axis=0)
    if value.shape[0] is None:
        return gathered
    # TensorFlow forgets the size; an objective may read it from the shape.
    return tf.ensure_shape(gathered, (value.shape[0] * context.num_replicas_in_sync, *value.shape[1:]))


def sum_over_replicas(values):
    """Sums a structure of tensors over the replicas, inside a replica."""
    context = tf.distribute.get_replica_context()
    if context is None or context.num_replicas_in_sync == 1:
        return values
    return context.all_reduce(tf.distribute.ReduceOp.SUM, values)


def mean_over_workers(strategy, number):
    """Averages a number over all workers, a float; every worker must call it, outside a replica."""
    if not isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy):
        return float(number)
    return float(_mean_function(strategy)(tf.constant(float(number), tf.float64)))


@functools.cache
def _mean_function(strategy):
    @tf.function(autograph=False)
    def mean(number):
        # The reduction asks on which device a tensor is; an argument is on none yet.
        numbers = strategy.run(lambda value: sum_over_replicas(tf.identity(value)), (number,))
        return first_replica(strategy, numbers) / strategy.num_replicas_in_sync

    return mean


def first_replica(strategy, structure):
    """Takes the first local replica's tensor of each per-replica value in `structure`."""
    return tf.nest.map_structure(lambda value: strategy.experimental_local_results(value)[0], structure)
