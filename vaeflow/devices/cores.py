"""On a CPU each core computes examples of its own, instead of all sharing every operation.

The operations of these nets are short, and threads that share each of them spend the time on
one another: the dense net trained on 31,000 images/s with two threads for an operation and on
29,500 with one (batch 128, 2 cores). With half of the examples and one thread for each core it
trains on 49,000, and the 64x64 net of Burgess et al. on 2,230 instead of 1,870 (batch 64).
"""

import contextlib
import itertools
import os
import threading

import tensorflow as tf

from vaeflow import random

# In a part. The dense net gains with 16 too; fewer were not measured.
_FEWEST_EXAMPLES = 16

_local = threading.local()


def divide(num_examples, compile_mode):
    """Gives each operation the threads of one part only.

    Call it before anything else uses TensorFlow's devices: later it does nothing, and
    every operation takes all cores. The parts are computed side by side all the same.

    Args:
      num_examples: that this process trains on in a step, on all its replicas.
      compile_mode: of the training; what XLA compiles is not cut into parts.
    """
    if tf.config.list_physical_devices("GPU") or compile_mode not in ("none", "auto"):
        return
    [cpu, *_] = tf.config.list_physical_devices("CPU")
    num_replicas = len(tf.config.get_logical_device_configuration(cpu) or [cpu])
    parts = num_replicas * num_parts(num_examples // num_replicas, num_replicas)
    with contextlib.suppress(RuntimeError):  # The devices are in use.
        tf.config.threading.set_intra_op_parallelism_threads(max(1, _num_cores() // parts))


def operations_at_a_time():
    """Returns how many operations it takes to keep all cores busy, an int; 1 on a GPU."""
    threads = tf.config.threading.get_intra_op_parallelism_threads()
    on_gpu = tf.config.list_physical_devices("GPU")
    return 1 if on_gpu or not threads else max(1, _num_cores() // threads)


def num_parts(num_examples, num_replicas):
    """Chooses into how many equal parts a replica's examples are cut.

    Args:
      num_examples: of one replica, an int.
      num_replicas: that share this machine's cores.

    Returns:
      An int; 1 on a GPU.
    """
    if tf.config.list_physical_devices("GPU"):
        return 1
    most = min(_num_cores() // num_replicas, num_examples // _FEWEST_EXAMPLES)
    return max((count for count in range(1, most + 1) if num_examples % count == 0), default=1)


def bounds(num_examples, count):
    """Lists the first example of each part and the one after its last."""
    edges = [num_examples * part // count for part in range(count + 1)]
    return list(itertools.pairwise(edges))


@contextlib.contextmanager
def cutting_blocks(count):
    """Makes `in_parts` cut examples into `count` parts inside, where one operation leaves cores idle."""
    previous = getattr(_local, "count", 1)
    _local.count = count if operations_at_a_time() > 1 else 1
    try:
        yield
    finally:
        _local.count = previous


def in_parts(block, examples, **arguments):
    """Calls a block on parts of the examples, side by side, inside `cutting_blocks`.

    Args:
      block: a function of `[b, …]` that returns a tensor `[b, …]`.
      examples: `[B, …]`.
      **arguments: passed on.

    Returns:
      The tensor `[B, …]` of `block(examples, **arguments)`.
    """
    count, size = getattr(_local, "count", 1), examples.shape[0]
    if count == 1 or size is None:
        return block(examples, **arguments)
    parts = random.in_parts(bounds(size, count))
    return tf.concat([block(examples[first:last], **arguments) for first, last in parts], axis=0)


def _num_cores():
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
