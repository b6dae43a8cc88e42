"""Where the embeddings of a codebook begin, if not at random: at vectors of images, or at their clusters."""

import numpy as np
import tensorflow as tf

from vaeflow.layers.quantizers.nearest import nearest_codes

STARTS = ("uniform", "data", "k-means")
_NUM_ITERATIONS = 10


def starting_embeddings(start: str, vectors: tf.Tensor, num_codes: int) -> tf.Tensor:
    """Chooses the embeddings of codes.

    Args:
      start: `"data"`, or `"k-means"`.
      vectors: `[n, d]`, n of at least `num_codes`, in a random order.
      num_codes: K.

    Returns:
      `[K, d]`: the first vectors, or the means of the clusters that form around them.
    """
    first = vectors[:num_codes]
    return first if start == "data" else k_means(vectors, first)


def k_means(vectors: tf.Tensor, means: tf.Tensor) -> tf.Tensor:
    """Moves each mean to the middle of the vectors nearest to it, ten times (Lloyd 1982).

    A mean that no vector is nearest to stays where it is. The sums are in float64.

    Args:
      vectors: `[n, d]`.
      means: `[K, d]`, with which it begins.

    Returns:
      `[K, d]`.
    """
    values = vectors.numpy().astype(np.float64)
    for _ in range(_NUM_ITERATIONS):
        codes = nearest_codes(vectors, means).numpy()
        counts = np.bincount(codes, minlength=len(means))
        sums = np.zeros(means.shape)
        np.add.at(sums, codes, values)
        moved = np.where(counts[:, None] > 0, sums / np.maximum(counts, 1)[:, None], means.numpy())
        means = tf.constant(moved, means.dtype)
    return means
