"""Entropy and mutual information of labels and of codes in bins, from their histograms."""

import numpy as np

STUDY_NUM_BINS = 20  # Of Locatello et al. 2019 (arXiv:1811.12359), appendix C.


def binned(codes: np.ndarray, num_bins: int) -> np.ndarray:
    """Replaces each code by its bin: bins of equal width from the smallest to the largest of its dimension.

    Args:
      codes: float64 `[n, D]`.
      num_bins: of each dimension.

    Returns:
      Int64 `[n, D]`, 0 … `num_bins` − 1; of a dimension without any spread, one bin.
    """

    def bins(column: np.ndarray) -> np.ndarray:
        return np.searchsorted(np.histogram_bin_edges(column, num_bins)[1:-1], column, "right")

    return np.stack([bins(column) for column in codes.T], axis=1)


def entropies(labels: np.ndarray) -> np.ndarray:
    """Returns the entropy of each column of labels int64 `[n, F]`, in nats: float64 `[F]`."""
    return np.array([_entropy(np.bincount(column)) for column in labels.T])


def mutual_information(ones: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Returns I(a; b) = H(a) + H(b) − H(a, b) of the columns of two sets of labels, in nats.

    Args:
      ones: int64 `[n, A]`, not negative.
      others: int64 `[n, B]`, likewise.

    Returns:
      Float64 `[A, B]`, of the joint histograms of n, without a correction of their bias.
    """
    of_both = np.array([[_joint_entropy(one, other) for other in others.T] for one in ones.T])
    return np.maximum(entropies(ones)[:, None] + entropies(others)[None, :] - of_both, 0.0)


def _joint_entropy(one: np.ndarray, other: np.ndarray) -> float:
    return _entropy(np.unique(one * (other.max() + 1) + other, return_counts=True)[1])


def _entropy(counts: np.ndarray) -> float:
    frequencies = counts[counts > 0] / counts.sum()
    return float(-np.sum(frequencies * np.log(frequencies)))
