"""The log probability of Bernoulli pixels with few logarithms."""

import math

import tensorflow as tf

_MOST_FACTORS = 32  # Their product is at least 2⁻³², far from what float32 cannot hold.


@tf.custom_gradient
def bernoulli_log_prob(value, logits):
    """Sums the cross-entropy in fewer passes, with one logarithm for many pixels: `[B, …]` to `[B]`.

    With σ = sigmoid(l), log p(v) = v l − max(l, 0) + log max(σ, 1 − σ). The last is at
    least log ½, so that many are summed as the logarithm of their product; and σ serves
    the gradient too.
    """
    sigmoid = tf.sigmoid(logits)
    linear = tf.reduce_sum(value * logits - tf.nn.relu(logits), axis=list(range(1, logits.shape.rank)))
    probable = tf.maximum(sigmoid, 1 - sigmoid)
    size = math.prod(logits.shape[1:])
    factors = max(count for count in range(1, _MOST_FACTORS + 1) if size % count == 0)
    products = tf.reduce_prod(tf.reshape(probable, (-1, size // factors, factors)), axis=2)

    def gradient(upstream):
        upstream = tf.reshape(upstream, (-1, *[1] * (logits.shape.rank - 1)))
        return upstream * logits, upstream * (value - sigmoid)

    return linear + tf.reduce_sum(tf.math.log(products), axis=1), gradient
