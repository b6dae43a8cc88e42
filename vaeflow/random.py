"""Noise that does not depend on the number of replicas, workers or the compile mode.

Every number is a pure function of (seed, stream, step, position of the example in
the global batch, number of the draw), by the counter-based generator Philox
(Salmon et al. 2011). A replica computes only its own part: it starts the counter
where its examples begin. The bits are turned into floats here, since XLA and
TensorFlow's own kernels order the same bits differently.
"""

import contextlib
import hashlib
import math
import threading

import keras
import tensorflow as tf

_PHILOX = 1  # tf.random.Algorithm.PHILOX, as the raw ops take it.
_NUMBERS_PER_COUNT = 4  # Philox gives four 32-bit numbers for each value of its counter.


class _Scope:
    """The key of the draws made inside `keyed`, and how many there were."""

    def __init__(self, seed, stream, step, first_position):
        self.seed = seed
        self.stream = stream
        self.step = step
        self.first_position = first_position
        self.num_draws = 0


_local = threading.local()


@contextlib.contextmanager
def keyed(seed, stream, step, first_position=0):
    """Makes the draws inside a pure function of these arguments.

    Args:
      seed: an int, the run's seed.
      stream: a name that separates uses of one seed, e.g. `"train"`.
      step: an int or scalar tensor, the global step.
      first_position: an int or scalar tensor, the position in the global batch of
        the first example on this replica.
    """
    previous = getattr(_local, "scope", None)
    _local.scope = _Scope(seed, stream, step, first_position)
    try:
        yield
    finally:
        _local.scope = previous


def in_parts(bounds):
    """Yields each part's bounds; what is then drawn is what all examples together would have drawn.

    Args:
      bounds: the first example of each part and the one after its last, ints.
    """
    scope = getattr(_local, "scope", None)
    if scope is None:
        yield from bounds
        return
    num_draws, first_position = scope.num_draws, scope.first_position
    for first, last in bounds:
        scope.num_draws, scope.first_position = num_draws, first_position + first
        yield first, last
    scope.first_position = first_position


def normal(shape, dtype="float32", shared=False):
    """Draws standard normal noise.

    Outside `keyed` (in `model.fit`, or a direct call) it draws from Keras' global
    generator, which `keras.utils.set_random_seed` seeds.

    Args:
      shape: `[examples, …]`; the first size may be a tensor, the others are ints.
      dtype: of the result; half precisions are drawn in float32 and cast.
      shared: True for noise that does not belong to examples (samples from a
        prior, say): every replica gets the same.

    Returns:
      A tensor of `shape`.

    Raises:
      RuntimeError: on several replicas outside `keyed`, where every replica would
        get the same noise.
    """
    if _outside():
        return keras.random.normal(shape, dtype=dtype)
    size = math.prod(shape[1:])
    half = -(-size // 2)
    bits = _bits(shape[0], 2 * half, shared)
    # Box & Muller 1958: two uniforms give two normals.
    first, second = _unit_interval(bits[:, :half], dtype), _unit_interval(bits[:, half : 2 * half], dtype)
    radius = tf.sqrt(-2.0 * tf.math.log(first))
    angle = 2.0 * math.pi * second
    flat = tf.concat([radius * tf.cos(angle), radius * tf.sin(angle)], axis=1)[:, :size]
    return tf.cast(tf.reshape(flat, shape), dtype)


def uniform(shape, dtype="float32", shared=False):
    """Draws uniform noise in (0, 1]; arguments and errors as for `normal`."""
    if _outside():
        return keras.random.uniform(shape, dtype=dtype)
    size = math.prod(shape[1:])
    flat = _unit_interval(_bits(shape[0], size, shared)[:, :size], dtype)
    return tf.cast(tf.reshape(flat, shape), dtype)


def _outside():
    if getattr(_local, "scope", None) is not None:
        return False
    context = tf.distribute.get_replica_context()
    if context is not None and context.num_replicas_in_sync > 1:
        raise RuntimeError(
            "noise drawn outside the Trainer would be the same on each of the "
            f"{context.num_replicas_in_sync} replicas; train with vaeflow.Trainer (python -m launch.train) "
            "or wrap the call in vaeflow.random.keyed(...)"
        )
    return True


def _bits(num_examples, width, shared):
    """Returns uint32 `[num_examples, width rounded up to 4]` for the next draw."""
    scope = _local.scope
    counts = -(-width // _NUMBERS_PER_COUNT)
    first = 0 if shared else scope.first_position
    counter = tf.stack([tf.cast(first, tf.uint64) * counts, tf.cast(scope.step, tf.uint64)])
    digest = hashlib.sha256(f"{scope.seed}/{scope.stream}/{scope.num_draws}".encode()).digest()
    scope.num_draws += 1
    return tf.raw_ops.StatelessRandomUniformFullIntV2(
        shape=tf.stack([num_examples, counts * _NUMBERS_PER_COUNT]),
        key=tf.constant([int.from_bytes(digest[:8], "little")], tf.uint64),
        counter=counter,
        alg=_PHILOX,
        dtype=tf.uint32,
    )


def _unit_interval(bits, dtype):
    """Maps 32 random bits to (0, 1], in float32 or, for float64, in float64."""
    dtype = tf.float64 if tf.as_dtype(dtype) == tf.float64 else tf.float32
    return (tf.cast(bits, dtype) + 0.5) * tf.constant(2.0**-32, dtype)
