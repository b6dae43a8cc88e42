"""Chooses the devices of a run and makes its distribution strategy."""

import functools
import inspect
import os
from collections.abc import Callable, Sequence

import tensorflow as tf

from vaeflow import registry, validation
from vaeflow.devices import connecting
from vaeflow.devices.workers import Workers, find_workers, to_tf_config
from vaeflow.errors import ConfigurationError
from vaeflow.runs import processes

COMMUNICATIONS = ("auto", "nccl", "ring")

# TensorFlow would make each of a billion devices, or run out of memory before it does.
_MOST_DEVICES = 1024


def split_devices(num_devices: int) -> None:
    """Splits the CPU, or the first GPU, into equal logical devices.

    They let anyone rehearse a run on several GPUs. Call it before anything else uses
    TensorFlow's devices.

    Args:
      num_devices: the number of logical devices.

    Raises:
      ConfigurationError: `num_devices` is below 1, or more than anyone rehearses.
      RuntimeError: TensorFlow's devices are in use already.
    """
    if not 1 <= num_devices <= _MOST_DEVICES:
        raise ConfigurationError(
            f"`--virtual_devices` must be a number from 1 to {_MOST_DEVICES:,}, got {num_devices:,}"
        )
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


def _gpu_memory_megabytes() -> int:
    # TensorFlow reports it only once its devices are in use and can no longer be split.
    command = ["nvidia-smi", "--query-gpu=memory.total", "--format=csv,noheader,nounits"]
    found = processes.output(command)
    if not found:
        raise ConfigurationError("`--virtual_devices` cannot split the GPU: nvidia-smi failed")
    return int(found.split()[0])


@registry.strategy
def automatic(communication: str = "auto") -> tf.distribute.Strategy:
    """Uses all workers in `TF_CONFIG` or Slurm's environment; without them, this machine as `mirrored` does.

    Args:
      communication: how several workers sum gradients: `"nccl"`, `"ring"` (TensorFlow's own), or `"auto"`,
        NCCL if this worker has GPUs. TensorFlow asks for the same number of them on each worker.

    Returns:
      A `tf.distribute` strategy.

    Raises:
      ConfigurationError: the environment contradicts itself; see `workers`.
      ValueError: `communication` is something else.
    """
    validation.one_of("automatic.communication", communication, COMMUNICATIONS)
    workers = find_workers()
    if workers is None:
        return mirrored()
    if communication == "auto":
        # Left to itself TensorFlow may take its ring between machines with GPUs.
        communication = "nccl" if tf.config.get_visible_devices("GPU") else "auto"
    return _multi_worker_once(workers, communication)


@functools.cache
def _multi_worker_once(workers: Workers, communication: str) -> tf.distribute.Strategy:
    implementation = tf.distribute.experimental.CommunicationImplementation(communication.upper())
    options = tf.distribute.experimental.CommunicationOptions(implementation=implementation)
    os.environ["TF_CONFIG"] = to_tf_config(workers)
    with connecting.unlocked():
        return tf.distribute.MultiWorkerMirroredStrategy(communication_options=options)


@registry.strategy
def mirrored(devices: Sequence[str] | None = None) -> tf.distribute.Strategy:
    """Places one replica on every GPU, or on every logical CPU if there is no GPU.

    Args:
      devices: TensorFlow device names, e.g. `["GPU:0", "GPU:1"]`; None for all.

    Returns:
      A `tf.distribute.MirroredStrategy`.
    """
    if devices is None:
        kind = "GPU" if tf.config.list_logical_devices("GPU") else "CPU"
        devices = [device.name for device in tf.config.list_logical_devices(kind)]
    return _mirrored_once(tuple(devices))


def spans_workers(factory: Callable) -> bool:
    """Returns whether a run with this strategy has several workers wherever the environment names some.

    Args:
      factory: what `train.strategy` names; `mirrored` stays on this machine.
    """
    return inspect.unwrap(factory) is not mirrored


@functools.cache
def _mirrored_once(devices: tuple[str, ...]) -> tf.distribute.Strategy:
    # A second strategy on the same devices would reuse the collective keys of the first, which
    # aborts the collectives.
    return tf.distribute.MirroredStrategy(devices)
