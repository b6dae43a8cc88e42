"""Noise that does not depend on the number of replicas and workers, nor on the compile mode.

Every number is a pure function of the seed, the stream, the step, the example's position in
the global batch and the number of the draw. It comes from the counter-based generator Philox
(Salmon et al. 2011). A replica computes only the noise of its own examples: it starts the
counter at the first of them. The bits become floats here, since XLA and TensorFlow's own
kernels order the same bits differently.
"""

import contextlib
import hashlib
import math
import threading
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import keras
import tensorflow as tf

_PHILOX = 1  # The value of tf.random.Algorithm.PHILOX, which the raw ops take.
_NUMBERS_PER_COUNT = 4  # Philox gives four 32-bit numbers for each value of its counter.

Shape = Sequence[Any]  # Ints, but for the first size, which may be a tensor.
DType = str | tf.DType


class _Scope:
    """The key of the draws inside `keyed`, and the number of draws so far."""

    def __init__(
        self,
        seed: int,
        stream: str,
        step: int | tf.Tensor,
        first_position: int | tf.Tensor,
        batch_size: int | None,
    ):
        self.seed = seed
        self.stream = stream
        self.step = step
        self.first_position = first_position
        self.batch_size = batch_size
        self.num_draws = 0


_local = threading.local()


@contextlib.contextmanager
def keyed(
    seed: int,
    stream: str,
    step: int | tf.Tensor,
    first_position: int | tf.Tensor = 0,
    batch_size: int | None = None,
) -> Iterator[None]:
    """Makes all draws inside the context a pure function of these arguments.

    Args:
      seed: the run's seed.
      stream: a name that separates uses of one seed, e.g. `"train"`.
      step: the global step; a tensor is a scalar.
      first_position: the position in the global batch of this replica's first example; a
        tensor is a scalar.
      batch_size: the number of examples of the global batch, from which `drawn_rows` draws; None where
        the batch inside is the whole.

    Example:
        with random.keyed(1, "train", step=5):
            noise = random.normal((batch_size, num_latents))
    """
    previous = getattr(_local, "scope", None)
    _local.scope = _Scope(seed, stream, step, first_position, batch_size)
    try:
        yield
    finally:
        _local.scope = previous


def in_parts(bounds: Iterable[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """Yields the bounds of each part of the examples, and sets the draws to that part.

    Together the parts draw the same noise as all examples at once.

    Args:
      bounds: for each part, its first example and the one after its last.
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


@contextlib.contextmanager
def samples(num_samples: int) -> Iterator[None]:
    """Draws several samples of each example: inside, a draw has `num_samples` consecutive rows for each.

    Sample `k` of the example at position `p` is row number `p · num_samples + k`, on whichever
    replica and in whichever part of the batch it is drawn.

    Args:
      num_samples: how many rows belong to one example.
    """
    scope = getattr(_local, "scope", None)
    if scope is None:
        yield
        return
    first_position = scope.first_position
    scope.first_position = first_position * num_samples
    try:
        yield
    finally:
        scope.first_position = first_position


def normal(shape: Shape, dtype: DType = "float32", shared: bool = False) -> tf.Tensor:
    """Draws standard normal noise.

    Outside `keyed` (in `model.fit`, or a direct call) it draws from Keras' global
    generator, which `keras.utils.set_random_seed` seeds.

    Args:
      shape: `[examples, …]`. The first size may be a tensor, the others are ints.
      dtype: the dtype of the result. Half precisions are drawn in float32 and cast.
      shared: True gives every replica the same noise, for noise that does not belong to
        examples, e.g. samples from a prior.

    Returns:
      A tensor of `shape`.

    Raises:
      RuntimeError: called outside `keyed` on several replicas, which would all get the
        same noise.
    """
    if _draws_globally():
        return keras.random.normal(shape, dtype=dtype)  # pyright: ignore[reportReturnType] A backend's tensor.
    size = math.prod(shape[1:])
    half = -(-size // 2)
    bits = _bits(shape[0], 2 * half, shared)
    # Box & Muller 1958: two uniforms give two normals.
    first, second = _unit_interval(bits[:, :half], dtype), _unit_interval(bits[:, half : 2 * half], dtype)
    radius = tf.sqrt(-2.0 * tf.math.log(first))
    angle = 2.0 * math.pi * second
    flat = tf.concat([radius * tf.cos(angle), radius * tf.sin(angle)], axis=1)[:, :size]
    return tf.cast(tf.reshape(flat, shape), dtype)


def uniform(shape: Shape, dtype: DType = "float32", shared: bool = False) -> tf.Tensor:
    """Draws uniform noise in (0, 1]; arguments and errors as for `normal`."""
    if _draws_globally():
        return keras.random.uniform(shape, dtype=dtype)  # pyright: ignore[reportReturnType]
    size = math.prod(shape[1:])
    flat = _unit_interval(_bits(shape[0], size, shared)[:, :size], dtype)
    return tf.cast(tf.reshape(flat, shape), dtype)


def gumbel(shape: Shape, dtype: DType = "float32", shared: bool = False) -> tf.Tensor:
    """Draws standard Gumbel noise, −log(−log u); arguments and errors as for `normal`.

    It is computed in float64: u must be neither 0 nor 1, and the largest of several numbers is then the
    same in every precision.
    """
    drawn = tf.clip_by_value(uniform(shape, "float64", shared), 2.0**-33, 1.0 - 2.0**-33)
    return tf.cast(-tf.math.log(-tf.math.log(drawn)), dtype)


def drawn_rows(values: tf.Tensor, num_rows: int) -> tf.Tensor:
    """Draws rows of the global batch, each as likely, with replacement; returns this part's share of them.

    A row that lies in another part of the batch is 0 here, so the sum over all parts has the rows that
    were drawn, the same ones however the batch is cut. Use it for statistics of an `Update`.

    Args:
      values: `[b, m, d]`, m rows for each of this part's examples.
      num_rows: how many.

    Returns:
      `[num_rows, d]`.
    """
    per_example, size = values.shape[1:]
    rows = tf.reshape(values, (-1, size))
    num_own = tf.cast(tf.shape(rows)[0], tf.int64)
    scope = getattr(_local, "scope", None)
    if scope is None or scope.batch_size is None:
        first, total = tf.constant(0, tf.int64), num_own
    else:
        first = tf.cast(scope.first_position, tf.int64) * per_example
        total = tf.constant(scope.batch_size * per_example, tf.int64)
    noise = uniform((num_rows,), "float64", shared=True)
    # The noise is in (0, 1].
    own = tf.cast(tf.math.ceil(noise * tf.cast(total, tf.float64)), tf.int64) - 1 - first
    is_here = (own >= 0) & (own < num_own)
    drawn = tf.gather(rows, tf.clip_by_value(own, 0, num_own - 1))
    return tf.where(is_here[:, None], drawn, tf.zeros_like(drawn))


def _draws_globally() -> bool:
    """Whether Keras' global generator serves: outside `keyed`, on one replica."""
    if getattr(_local, "scope", None) is not None:
        return False
    context = tf.distribute.get_replica_context()
    if context is not None and context.num_replicas_in_sync > 1:
        raise RuntimeError(
            "noise drawn outside the Trainer would be the same on each of the "
            f"{context.num_replicas_in_sync} replicas; train with vaeflow.Trainer (`vaeflow train`) "
            "or wrap the call in vaeflow.random.keyed(...)"
        )
    return True


def _bits(num_examples: int | tf.Tensor, width: int, shared: bool) -> tf.Tensor:
    """Returns uint32 `[num_examples, W]` for the next draw; W is `width` rounded up to a multiple of 4."""
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


def _unit_interval(bits: tf.Tensor, dtype: DType) -> tf.Tensor:
    """Maps uint32 to (0, 1]: float64 if `dtype` is that, else float32."""
    dtype = tf.float64 if tf.as_dtype(dtype) == tf.float64 else tf.float32
    return (tf.cast(bits, dtype) + 0.5) * tf.constant(2.0**-32, dtype)
