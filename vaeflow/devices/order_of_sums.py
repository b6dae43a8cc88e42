"""Lets TensorFlow add tensors in the order in which they are given.

Its operation AddN sums three or more tensors into the memory of one that nobody else needs any more, and
begins with that one. Which one that is depends on what other threads have finished: 4 of 122 processes of
planar_vae.gin ended with other bits. AddN serves `tf.add_n`, and the gradient of what is used in three
places.
"""

from collections.abc import Sequence
from typing import Any

import tensorflow as tf
from tensorflow.python.ops import gen_math_ops

_add_n = gen_math_ops.add_n


def fix() -> None:
    """Replaces AddN, in what is traced or run from now on, by additions of two tensors each.

    There is no public way: the tape, too, calls this function of TensorFlow's. Tested in
    `tests/devices/test_order_of_sums.py`.
    """
    gen_math_ops.add_n = _added_in_order


def _added_in_order(inputs: Sequence[Any], name: str | None = None) -> Any:
    """Adds tensors of one shape and dtype, as `tf.raw_ops.AddN` does."""
    first, *others = inputs
    # The order of two does not matter. A variant holds lists of tensors, which only AddN can add.
    if len(others) < 2 or first.dtype == tf.variant:
        return _add_n(list(inputs), name=name)
    total = first
    for each in others:
        total = tf.raw_ops.AddV2(x=total, y=each)
    return total if name is None else tf.identity(total, name=name)
