"""Gives each core of a CPU its own examples, instead of a share of every operation.

The operations of these nets are short, and threads that share them mostly wait for one
another: the dense net trained at 31,000 images/s with two threads per operation and at 29,500
with one (batch 128, 2 cores). With half of the examples and one thread per core it trains at
49,000, and the 64x64 net of Burgess et al. at 2,230 instead of 1,870 (batch 64).
"""

import contextlib
import itertools
import os
import threading
from collections.abc import Callable, Iterator
from typing import Any

import tensorflow as tf

from vaeflow import random
from vaeflow.devices import replicas

# In one part. The dense net is still faster with 16; fewer were not measured.
_FEWEST_EXAMPLES = 16
# Of a part that is computed in rounds. The residual net is as fast with 32 as with 16.
_FEWEST_IN_ROUNDS = 32
# Of the largest features of a part, so that what one operation writes is in the cache when the next reads it.
_CACHED_BYTES = 4 << 20

_local = threading.local()


def divide(num_examples: int, compile_mode: str) -> None:
    """Limits the threads of each operation to those of one part.

    Call it before anything else uses TensorFlow's devices. Later it has no effect: the
    parts are still computed concurrently, but every operation uses all cores.

    Args:
      num_examples: the number of examples per step in this process, on all its replicas.
      compile_mode: the mode of the training. XLA's code is not cut into parts.
    """
    if tf.config.list_physical_devices("GPU") or compile_mode not in ("none", "auto"):
        return
    [cpu, *_] = tf.config.list_physical_devices("CPU")
    num_replicas = len(tf.config.get_logical_device_configuration(cpu) or [cpu])
    parts = num_replicas * num_parts(num_examples // num_replicas, num_replicas)
    with contextlib.suppress(RuntimeError):  # The devices are in use already.
        tf.config.threading.set_intra_op_parallelism_threads(max(1, _num_cores() // parts))


def operations_at_a_time() -> int:
    """Returns how many concurrent operations keep all cores busy; 1 on a GPU."""
    threads = tf.config.threading.get_intra_op_parallelism_threads()
    on_gpu = tf.config.list_physical_devices("GPU")
    return 1 if on_gpu or not threads else max(1, _num_cores() // threads)


def num_parts(num_examples: int, num_replicas: int) -> int:
    """Chooses the number of equal parts that a replica's examples are cut into.

    Args:
      num_examples: the number of examples of one replica.
      num_replicas: the number of replicas that share this machine's cores.

    Returns:
      An int of at least 1; 1 on a GPU.
    """
    if tf.config.list_physical_devices("GPU"):
        return 1
    most = min(_num_cores() // num_replicas, num_examples // _FEWEST_EXAMPLES)
    return max((count for count in range(1, most + 1) if num_examples % count == 0), default=1)


def num_rounds(num_examples: int, bytes_per_example: int) -> int:
    """Chooses into how many equal rounds, one after the other, a core cuts its part of the examples.

    The 64x64 net of Burgess et al. at batch 256 trains 1.09 times as fast on 2 cores with 32 examples
    at a time as with 128 (1.04 to 1.17, five alternating pairs).

    Args:
      num_examples: the number of examples of one part.
      bytes_per_example: how large the largest features of an example are.

    Returns:
      An int of at least 1; 1 on a GPU.
    """
    if tf.config.list_physical_devices("GPU"):
        return 1
    counts = [
        count for count in range(1, num_examples // _FEWEST_IN_ROUNDS + 1) if num_examples % count == 0
    ] or [1]
    fitting = [count for count in counts if num_examples // count * bytes_per_example <= _CACHED_BYTES]
    return fitting[0] if fitting else counts[-1]


def parts_at_a_time(num_examples: int, num_replicas: int) -> int:
    """Chooses as `num_parts` does if a single operation leaves cores idle, see `divide`; 1 otherwise."""
    return num_parts(num_examples, num_replicas) if operations_at_a_time() > 1 else 1


def bounds(num_examples: int, count: int) -> list[tuple[int, int]]:
    """Lists for each of `count` parts its first example and the one after its last."""
    edges = [num_examples * part // count for part in range(count + 1)]
    return list(itertools.pairwise(edges))


@contextlib.contextmanager
def cutting_blocks(count: int) -> Iterator[None]:
    """Makes `in_parts` cut examples into `count` parts, if a single operation leaves cores idle."""
    previous = getattr(_local, "count", 1)
    _local.count = count if operations_at_a_time() > 1 else 1
    try:
        yield
    finally:
        _local.count = previous


@contextlib.contextmanager
def compiling_blocks() -> Iterator[None]:
    """Makes `in_parts` compile blocks with XLA, each on its own.

    The variables that a block reads must be tensors inside, as in a `keras.StatelessScope`.
    """
    _local.compiles = True
    try:
        yield
    finally:
        _local.compiles = False


def in_parts(block: Callable[..., Any], examples: tf.Tensor, **arguments: Any) -> Any:
    """Calls a block on parts of the examples concurrently, inside `cutting_blocks`.

    Inside `compiling_blocks` it calls the block as XLA compiles it, on all examples.

    Args:
      block: a function of `[b, …]` that returns a tensor `[b, …]`, or a nest of them.
      examples: `[B, …]`.
      **arguments: further arguments of `block`.

    Returns:
      What `block(examples, **arguments)` returns, of all examples.
    """
    if getattr(_local, "compiles", False):
        return _compiled(block, arguments)(examples)
    count, size = getattr(_local, "count", 1), examples.shape[0]
    if count == 1 or size is None:
        return block(examples, **arguments)
    parts = random.in_parts(bounds(size, count))
    outputs = [block(examples[first:last], **arguments) for first, last in parts]
    return tf.nest.map_structure(lambda *of_parts: tf.concat(of_parts, axis=0), *outputs)


def _compiled(block, arguments):
    @tf.function(jit_compile=True, autograph=False)
    def compiled(examples):
        with replicas.compiling_for_one():
            return block(examples, **arguments)

    return compiled


def _num_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
