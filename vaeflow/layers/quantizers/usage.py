"""How many codes are in use, and how evenly."""

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

# Of a quantizer that needs no memory for each of its codes, but to count them.
MOST_CODES = 2**20


def code_counts(
    codes: tf.Tensor, code_sizes: Sequence[int], dtype: Any, weights: tf.Tensor | None = None
) -> list[tf.Tensor]:
    """Counts how often each code was chosen.

    The counts are whole numbers, so their sums are exact in any order.

    Args:
      codes: int32 `[r, …, G]`.
      code_sizes: K_1 … K_G.
      dtype: of the counts.
      weights: `[r]`, whole numbers, how often each row counts; None for once.

    Returns:
      For each group its counts `[K_g]`.
    """
    ones = tf.ones(tf.shape(codes)[:-1], dtype)
    if weights is not None:
        ones *= tf.reshape(tf.cast(weights, dtype), (-1, *[1] * (codes.shape.rank - 2)))
    times = tf.reshape(ones, [-1])
    by_group = tf.unstack(tf.reshape(codes, (-1, len(code_sizes))), axis=1)
    return [
        tf.math.unsorted_segment_sum(times, of_group, size)
        for of_group, size in zip(by_group, code_sizes, strict=True)
    ]


def usage_of(counts: Any) -> dict[str, tf.Tensor]:
    """Describes how codes are used.

    Args:
      counts: `[K]`, how often each code was chosen; some were.

    Returns:
      Scalars: `perplexity`, exp of the entropy of the frequencies, which is K where all codes are
      equally frequent; `usage`, the share of the codes that were chosen; and `dead`, the number of
      those that were not.
    """
    counts = tf.convert_to_tensor(counts)
    frequencies = counts / tf.reduce_sum(counts)
    entropy = -tf.reduce_sum(tf.math.xlogy(frequencies, frequencies))
    used = tf.reduce_sum(tf.cast(counts > 0, counts.dtype))
    num_codes = tf.cast(tf.size(counts), counts.dtype)
    return {"perplexity": tf.exp(entropy), "usage": used / num_codes, "dead": num_codes - used}


def usage_by_group(counts: Sequence[Any], prefix: str = "codes") -> dict[str, tf.Tensor]:
    """Names `usage_of` each group's counts: `codes/perplexity` …; of several `codes/perplexity/00` …."""
    return {
        f"{prefix}/{name}{f'/{group:02d}' if len(counts) > 1 else ''}": value
        for group, of_group in enumerate(counts)
        for name, value in usage_of(of_group).items()
    }
