"""Estimates from the posteriors of many examples: how informative latents are about the data."""

import math

import numpy as np
import numpy.typing as npt

from vaeflow.runs import watchdog

# The size of one array of pairs, small enough to stay in the processor's cache.
_CHUNK_BYTES = 1 << 20


def log_aggregate_posterior(
    latents: npt.ArrayLike, mean: npt.ArrayLike, log_variance: npt.ArrayLike
) -> np.ndarray:
    """Computes log q(z) = log 1/N Σ_j q(z|x_j), the aggregate posterior of N examples.

    Hoffman & Johnson 2016, "ELBO surgery", section 1. All pairs are compared, so the time
    grows with M · N · D; the memory does not.

    Args:
      latents: z, `[M, D]`.
      mean: of each posterior q(z|x_j), a diagonal Gaussian, `[N, D]`.
      log_variance: of each posterior, `[N, D]`.

    Returns:
      `[M]`, float64, in nats.

    Raises:
      ValueError: the shapes do not fit.
    """
    latents, mean, log_variance = _checked(latents, mean, log_variance)
    num_examples = len(mean)
    log_normalizer = _log_normalizer(log_variance)
    precision_root = np.exp(-0.5 * log_variance)
    scaled_mean = mean * precision_root
    rows = max(1, _CHUNK_BYTES // (8 * num_examples))
    result = np.empty(len(latents))
    for first in range(0, len(latents), rows):
        watchdog.progress(f"the aggregate posterior, example {first} of {len(latents)}")
        chunk = latents[first : first + rows]
        squared = np.zeros((len(chunk), num_examples))
        # One dimension at a time: a matrix product would suffer from cancellation at small variances.
        for values, roots, means in zip(chunk.T, precision_root.T, scaled_mean.T, strict=True):
            difference = np.multiply.outer(values, roots)
            difference -= means
            difference *= difference
            squared += difference
        result[first : first + rows] = _log_mean_exp(log_normalizer - 0.5 * squared)
    return result


def mutual_information(latents: npt.ArrayLike, mean: npt.ArrayLike, log_variance: npt.ArrayLike) -> float:
    """Estimates I(x; z), the information in a latent about which of N examples it came from.

    The mean of log q(z_i|x_i) − log q(z_i) over a sample z_i of each posterior
    (Hoffman & Johnson 2016, "ELBO surgery", section 1); never above log N. It is the
    part of the KL that is information; the rest is KL(q(z) ‖ p(z)).

    Args:
      latents: a sample of each posterior, `[N, D]`.
      mean: of each posterior, `[N, D]`.
      log_variance: of each posterior, `[N, D]`.

    Returns:
      A float, in nats.

    Raises:
      ValueError: the shapes do not fit.
    """
    latents, mean, log_variance = _checked(latents, mean, log_variance)
    if latents.shape != mean.shape:
        raise ValueError(f"`latents` must be one sample of each posterior, {mean.shape}, got {latents.shape}")
    squared = np.sum(np.square(latents - mean) * np.exp(-log_variance), axis=1)
    log_posterior = _log_normalizer(log_variance) - 0.5 * squared
    return float(np.mean(log_posterior - log_aggregate_posterior(latents, mean, log_variance)))


def _checked(
    latents: npt.ArrayLike, mean: npt.ArrayLike, log_variance: npt.ArrayLike
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    latents, mean, log_variance = (np.asarray(each, np.float64) for each in (latents, mean, log_variance))
    if mean.ndim != 2 or not len(mean) or log_variance.shape != mean.shape:
        raise ValueError(
            f"`mean` and `log_variance` must both be [N, D], got {mean.shape} and {log_variance.shape}"
        )
    if latents.ndim != 2 or latents.shape[1] != mean.shape[1]:
        raise ValueError(f"`latents` must be [M, {mean.shape[1]}], got {latents.shape}")
    return latents, mean, log_variance


def _log_normalizer(log_variance: np.ndarray) -> np.ndarray:
    return -0.5 * np.sum(log_variance + math.log(2.0 * math.pi), axis=1)


def _log_mean_exp(values: np.ndarray) -> np.ndarray:
    """Returns log mean exp of each row."""
    largest = values.max(axis=1, keepdims=True)
    values -= largest
    np.exp(values, out=values)
    return largest[:, 0] + np.log(values.mean(axis=1))
