"""The nearest codes of vectors, and the embeddings of codes."""

import tensorflow as tf

from vaeflow.kernels.full_matmul import full_matmul


def nearest_codes(vectors: tf.Tensor, codebook: tf.Tensor) -> tf.Tensor:
    """Returns the code whose embedding is nearest to each vector; the first of equals.

    |z − e|² is multiplied out, which takes a matrix product and K numbers for each vector, not K d.
    What is left of |z|², the same for all codes, is dropped. Both are moved by the mean of the
    codebook first, so that rounding matters less where all lie far from 0. The product is in the full
    precision of float32 also where TensorFlow rounds its factors.

    Args:
      vectors: z, `[…, d]`.
      codebook: e, `[K, d]`, of the same dtype.

    Returns:
      int32 `[…]`.
    """
    mean = tf.reduce_mean(codebook, axis=0)
    centred = codebook - mean
    flat = tf.reshape(vectors, (-1, codebook.shape[1])) - mean
    products = full_matmul(flat, centred, transpose_b=True)
    distances = tf.reduce_sum(tf.square(centred), axis=1) - 2.0 * products
    return tf.reshape(tf.argmin(distances, axis=1, output_type=tf.int32), tf.shape(vectors)[:-1])


@tf.custom_gradient
def looked_up(codebook, codes):
    """Returns the rows of a codebook `[K, d]` that codes `[…]` name, `[…, d]`.

    The gradient of the codebook is a product of matrices, which adds in a fixed order also on a GPU.
    """
    num_codes, size = codebook.shape

    def gradient(upstream):
        chosen = tf.one_hot(tf.reshape(codes, [-1]), num_codes, dtype=upstream.dtype)
        return tf.matmul(chosen, tf.reshape(upstream, (-1, size)), transpose_a=True), None

    return tf.gather(codebook, codes), gradient
