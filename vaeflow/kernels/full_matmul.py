"""Products of matrices in the full precision of float32, also on GPUs.

On a GPU TensorFlow multiplies float32 with 10 of its 23 bits (TF32), which training tolerates, and
the choice between numbers that lie close together does not. Each factor is cut into its first 10
bits and the rest, and three products of these are added, with an error of about 2^-21. Tested in
`tests/kernels/test_full_matmul.py`, with rounded factors on a CPU; not yet run on a GPU.
"""

from typing import Any

import tensorflow as tf

# Sign, exponent and 10 bits.
_FIRST_BITS = 0xFFFFE000


def full_matmul(
    one: tf.Tensor, other: tf.Tensor, transpose_a: bool = False, transpose_b: bool = False
) -> tf.Tensor:
    """Returns a product of matrices as `tf.matmul` does; it has no gradient where it cuts factors."""

    def product(left: Any, right: Any) -> Any:
        return tf.matmul(left, right, transpose_a=transpose_a, transpose_b=transpose_b)

    if one.dtype != tf.float32 or not rounds_float32():
        return product(one, other)
    (first, rest), (other_first, other_rest) = _cut(one), _cut(other)
    return product(first, other_first) + (product(first, other_rest) + product(rest, other_first))


def rounds_float32() -> bool:
    """Whether this process multiplies float32 on a GPU with fewer bits."""
    rounds = tf.config.experimental.tensor_float_32_execution_enabled()
    return rounds and bool(tf.config.list_physical_devices("GPU"))


def _cut(values):
    """Cuts float32 into numbers of 10 bits and what they leave."""
    bits = tf.bitwise.bitwise_and(tf.bitcast(values, tf.uint32), tf.constant(_FIRST_BITS, tf.uint32))
    first: Any = tf.bitcast(bits, tf.float32)
    return first, values - first
