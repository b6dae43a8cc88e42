"""The global norm of many gradients in fewer operations.

It equals `tf.linalg.global_norm` up to rounding. Most variables of a net are biases and scales: their
gradients are laid end to end, and so take one operation and not one each. Tested in
`tests/kernels/test_global_norm.py`.
"""

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

# What is copied for it must be small beside the gradients of kernels.
_LARGEST_COPIED = 4096


def global_norm(gradients: Sequence[Any]) -> tf.Tensor:
    """Returns the root of the sum of all squares, a scalar in the gradients' dtype.

    Args:
      gradients: tensors of one dtype, or `tf.IndexedSlices`, which count as their values.
    """
    small, large = [], []
    for gradient in gradients:
        values = gradient.values if isinstance(gradient, tf.IndexedSlices) else gradient
        size = values.shape.num_elements()
        if size is not None and size <= _LARGEST_COPIED:
            small.append(tf.reshape(values, (-1,)))
        else:
            large.append(values)
    return tf.linalg.global_norm([*large, tf.concat(small, 0)] if small else large)
