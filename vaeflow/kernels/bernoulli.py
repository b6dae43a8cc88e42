"""The log probability of Bernoulli pixels with few logarithms.

It equals minus TensorFlow's `sigmoid_cross_entropy_with_logits`, summed over the pixels of
an image, up to rounding; so does its gradient. It takes fewer passes over the pixels, and one
logarithm for up to 32 of them. Tested in `tests/kernels/test_bernoulli.py`.
"""

import math
from typing import Any

import tensorflow as tf

_MOST_FACTORS = 32  # Their product is at least 2⁻³², well within the range of float32.


@tf.custom_gradient
def bernoulli_log_prob(value: tf.Tensor, logits: tf.Tensor) -> Any:
    """Sums the log probabilities of each image's pixels, in nats.

    With σ = sigmoid(l), log p(v) = v l − max(l, 0) + log max(σ, 1 − σ). The argument of
    the last logarithm is at least ½, so up to 32 of these terms are summed as the
    logarithm of their product. The gradient reuses σ.

    Args:
      value: `[B, …]` in [0, 1], of the dtype of `logits`.
      logits: `[B, …]`, float32 or float64; the log odds of a 1. All sizes but the
        first are known.

    Returns:
      `[B]`; the decorator takes away the gradient.
    """
    sigmoid = tf.sigmoid(logits)
    linear = tf.reduce_sum(value * logits - tf.nn.relu(logits), axis=list(range(1, logits.shape.rank)))
    probable = tf.maximum(sigmoid, 1 - sigmoid)
    size = math.prod(logits.shape[1:])  # pyright: ignore[reportCallIssue, reportArgumentType] None of them is None.
    factors = max(count for count in range(1, _MOST_FACTORS + 1) if size % count == 0)
    products = tf.reduce_prod(tf.reshape(probable, (-1, size // factors, factors)), axis=2)

    def gradient(upstream):
        upstream = tf.reshape(upstream, (-1, *[1] * (logits.shape.rank - 1)))
        return upstream * logits, upstream * (value - sigmoid)

    return linear + tf.reduce_sum(tf.math.log(products), axis=1), gradient
