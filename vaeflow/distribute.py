"""Which devices a run uses, and what a replica needs to know of the others."""

import faulthandler
import functools
import os
import subprocess

import tensorflow as tf

from vaeflow import cluster, registry
from vaeflow.errors import ConfigurationError

# The workers have found each other by then; connecting takes a second or two.
_CONNECTION_SECONDS = 120


def split_devices(num_devices):
    """Splits the CPU, or the first GPU, into equal logical devices.

    With it anyone can rehearse a multi-GPU run. Call it before anything else uses
    TensorFlow's devices.

    Args:
      num_devices: how many logical devices to make.

    Raises:
      ConfigurationError: `num_devices` is below 1.
      RuntimeError: TensorFlow's devices are in use already.
    """
    if num_devices < 1:
        raise ConfigurationError(f"`--virtual_devices` must be 1 or more, got {num_devices}")
    gpus = tf.config.list_physical_devices("GPU")
    if gpus:
        tf.config.set_visible_devices(gpus[0], "GPU")
        share = int(0.9 * _gpu_memory_megabytes() / num_devices)
        part = tf.config.LogicalDeviceConfiguration(memory_limit=share)
        tf.config.set_logical_device_configuration(gpus[0], [part] * num_devices)
    else:
        cpu = tf.config.list_physical_devices("CPU")[0]
        tf.config.set_logical_device_configuration(
            cpu, [tf.config.LogicalDeviceConfiguration()] * num_devices
        )


def _gpu_memory_megabytes():
    # TensorFlow itself can tell only once its devices are in use, when they can no longer be split.
    command = ["nvidia-smi", "--query-gpu=memory.total", "--format=csv,noheader,nounits"]
    try:
        return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[0])
    except (OSError, subprocess.SubprocessError) as error:
        raise ConfigurationError(
            f"`--virtual_devices` cannot split the GPU: nvidia-smi failed ({error})"
        ) from error


@registry.strategy
def automatic():
    """All workers that `TF_CONFIG` or Slurm's environment names; else this machine's devices, as `mirrored`.

    Returns:
      A `tf.distribute` strategy.

    Raises:
      ConfigurationError: the environment contradicts itself; see `cluster`.
    """
    workers = cluster.from_environment()
    return mirrored() if workers is None else _multi_worker_once(workers)


@functools.cache
def _multi_worker_once(workers):
    os.environ["TF_CONFIG"] = cluster.to_tf_config(workers)
    # TensorFlow keeps Python's lock until all are connected: no other thread could end the wait.
    faulthandler.dump_traceback_later(_CONNECTION_SECONDS, exit=True)
    try:
        return tf.distribute.MultiWorkerMirroredStrategy()
    finally:
        faulthandler.cancel_dump_traceback_later()


@registry.strategy
def mirrored(devices=None):
    """One replica on every GPU; on every logical CPU where there is no GPU.

    Args:
      devices: TensorFlow device names, e.g. `["GPU:0", "GPU:1"]`; None for all.

    Returns:
      A `tf.distribute.MirroredStrategy`.
    """
    if devices is None:
        kind = "GPU" if tf.config.list_logical_devices("GPU") else "CPU"
        devices = [device.name for device in tf.config.list_logical_devices(kind)]
    return _mirrored_once(tuple(devices))


@functools.cache
def _mirrored_once(devices):
    # A second strategy on the same devices would use the first one's collective keys again,
    # which aborts the collectives.
    return tf.distribute.MirroredStrategy(devices)


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
