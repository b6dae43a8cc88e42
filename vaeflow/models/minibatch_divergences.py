"""How a minibatch's latents are distributed: differentiable estimates, for objectives.

Where each of `b` examples is compared with all `B` of the batch, it gets a value of its own,
so that a replica computes the rows of its examples only: `[b, B, D]`, not `[B, B, D]`.
The functions get the posteriors or latents of the whole batch, gathered, and
`positions`, int32 `[b]`: where in the batch the own examples are.
"""

import tensorflow as tf

from vaeflow.errors import ConfigurationError

ESTIMATORS = ("mws", "mss")
KERNELS = ("imq", "rbf")

# The kernel of each scale is sensitive to another distance: the authors' code of
# arXiv:1711.01558 sums these.
_IMQ_SCALES = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)


def log_aggregate_posterior(log_densities, positions, num_examples, estimator):
    """Estimates log q(z) and log Π_d q(z_d) of the aggregate posterior of the training set.

    Chen et al. 2018 (arXiv:1802.04942). `"mws"`, minibatch weighted sampling (Eq. 3,
    appendix C.1), weighs every posterior of the batch with 1/(N B): both are too small by
    up to log N for each logarithm, a constant that no gradient sees. `"mss"`, minibatch
    stratified sampling (appendix C.2), weighs an example's own posterior with 1/N, the
    next one's in the batch, cyclically, with (N − B + 1)/(N (B − 1)), and the others'
    with 1/(B − 1): unbiased for q(z) where a batch holds no example twice. (The published
    code puts 1/N into the first column instead of the diagonal.)

    Args:
      log_densities: log q(z_id | x_j) of example i's latents under posterior j,
        `[b, B, D]`, in nats.
      positions: `[b]`, the j that is i.
      num_examples: N, an int.
      estimator: `"mws"` or `"mss"`.

    Returns:
      A pair of `[b]`, in nats.

    Raises:
      ConfigurationError: the batch is known to be of one example.
    """
    check_batch_size(log_densities.shape[1])
    log_weights = _log_weights(log_densities, positions, num_examples, estimator)
    log_joint = tf.reduce_logsumexp(log_weights + tf.reduce_sum(log_densities, axis=2), axis=1)
    log_marginals = tf.reduce_logsumexp(log_weights[:, :, None] + log_densities, axis=1)
    return log_joint, tf.reduce_sum(log_marginals, axis=1)


def mmd(samples, others, positions, kernel):
    """Estimates the squared maximum mean discrepancy between two laws, without bias.

    Tolstikhin et al. 2018 (arXiv:1711.01558), Alg. 2: the mean kernel of two different
    samples of one law, plus that of the other, minus twice that of one of each. It may
    be negative. With d the distance and C = 2 D, for a prior of variance 1, `"imq"` is
    Σ_s s C / (s C + d²) over seven scales s from 0.1 to 10, as in its authors' code
    (the paper has s = 1 only), and `"rbf"` is exp(−d² / C).

    Args:
      samples: of one law, `[B, D]`.
      others: of the other law, `[B, D]`.
      positions: `[b]`, the rows to compute.
      kernel: `"imq"` or `"rbf"`.

    Returns:
      `[b]`; the mean over all rows is the estimate.

    Raises:
      ConfigurationError: the batch is known to be of one example. (Where `fit` leaves
        its size open and it is, the first two parts of the three are 0.)
    """
    check_batch_size(samples.shape[0])
    batch_size = tf.shape(samples)[0]
    count = tf.cast(batch_size, samples.dtype)
    num_pairs = tf.maximum(count - 1.0, 1.0)
    own = tf.range(batch_size)[None, :] == positions[:, None]
    cross = _kernel_values(tf.gather(samples, positions), others, kernel)
    values = -2.0 * tf.reduce_sum(cross, axis=1) / count
    for law in (samples, others):
        within = _kernel_values(tf.gather(law, positions), law, kernel)
        values += tf.reduce_sum(tf.where(own, tf.zeros_like(within), within), axis=1) / num_pairs
    return values


def sliced_wasserstein(samples, others, directions):
    """Estimates the squared sliced Wasserstein distance between two laws from as many samples of each.

    Kolouri et al. 2019 (arXiv:1804.01947, Eq. 11): on a line, the best transport takes the samples in
    their order, so W₂² is the mean squared difference of the sorted ones; the estimate is the mean over the
    lines along `directions`.

    Args:
      samples: of one law, `[B, D]`, of the whole batch.
      others: of the other law, `[B, D]`.
      directions: `[L, D]`, of any length but 0.

    Returns:
      A scalar.
    """
    units = directions / tf.norm(directions, axis=1, keepdims=True)
    one, other = (tf.sort(tf.matmul(units, each, transpose_b=True), axis=1) for each in (samples, others))
    return tf.reduce_mean(tf.math.squared_difference(one, other))


def check_batch_size(size: int | None) -> None:
    """Raises `ConfigurationError` where a batch is known to be of one example; None is unknown."""
    if size == 1:
        raise ConfigurationError(
            "this model compares the examples of a batch and needs at least 2 of them, got 1; raise "
            "`train.batch_size`, or set the model's `scope` to 'global'"
        )


def _log_weights(log_densities, positions, num_examples, estimator):
    """Returns the logarithm of the weight of posterior j in the estimate for example i, `[b, B]`."""
    dtype = log_densities.dtype
    batch_size = tf.shape(log_densities)[1]
    count, total = tf.cast(batch_size, dtype), tf.constant(num_examples, dtype)
    if estimator == "mws":
        return -tf.math.log(total * count) * tf.ones_like(log_densities[:, :, 0])
    # 0 on an example's own column, 1 on the next one's.
    distance = tf.math.floormod(tf.range(batch_size)[None, :] - positions[:, None], batch_size)
    next_one = tf.math.log((total - count + 1.0) / (total * (count - 1.0)))
    weights = tf.where(distance == 1, next_one, -tf.math.log(count - 1.0))
    return tf.where(distance == 0, -tf.math.log(total), weights)


def _kernel_values(left, right, kernel):
    """Returns k(left_i, right_j), `[n, m]`, for `[n, D]` and `[m, D]`."""
    # From the differences: |x|² + |y|² − 2 x·y cancels, and GPUs round products coarsely.
    squared = tf.reduce_sum(tf.math.squared_difference(left[:, None, :], right[None, :, :]), axis=2)
    base = 2.0 * left.shape[1]
    if kernel == "rbf":
        return tf.exp(-squared / base)
    # One scale after the other: together they would be [7, n, m].
    return sum(scale * base / (scale * base + squared) for scale in _IMQ_SCALES)
