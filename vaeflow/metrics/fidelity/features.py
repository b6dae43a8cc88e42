"""What is kept of the features of a set of images: all of them, or the Gaussian that they fit."""

import abc
from collections.abc import Iterator

import numpy as np

from vaeflow.runs import watchdog

# A block of features in float64 takes about this much memory, whatever the size of a batch.
_BLOCK_BYTES = 64 << 20


class FeatureSet(abc.ABC):
    """Collects the features of a set of images, batch by batch and in order.

    Attributes:
      num_images: n, of those so far.
    """

    num_images: int = 0

    def add(self, features: np.ndarray) -> None:
        """Adds the features of further images, `[b, D]`."""
        self.num_images += len(features)
        self._add(features)

    @abc.abstractmethod
    def _add(self, features: np.ndarray) -> None: ...


class Features(FeatureSet):
    """Keeps the features of all images."""

    def __init__(self) -> None:
        self._batches: list[np.ndarray] = []

    def _add(self, features: np.ndarray) -> None:
        self._batches.append(features)

    @property
    def array(self) -> np.ndarray:
        """The features `[n, D]`, as the net gave them."""
        if len(self._batches) > 1:
            self._batches = [np.concatenate(self._batches)]
        return self._batches[0]


class GaussianFit(FeatureSet):
    """Keeps the mean of the features and a factor of their covariance, in float64.

    A QR decomposition of the rows `[1, f]`, block by block, keeps only its triangle R. The first row
    of R holds √n times the mean; what is left and above of the diagonal below it is a triangle
    T, with TᵀT the sum of the outer products of the features around their mean. As nothing is squared, the
    result is as exact as the features, where a sum of outer products loses half of the
    digits of small deviations. The blocks do not depend on the batches.
    """

    def __init__(self) -> None:
        self._triangle: np.ndarray | None = None
        self._waiting: list[np.ndarray] = []

    def _add(self, features: np.ndarray) -> None:
        self._waiting.append(features)
        rows = _rows_per_block(features.shape[1])
        while sum(map(len, self._waiting)) >= rows:
            waiting = np.concatenate(self._waiting)
            self._waiting = [waiting[rows:]]
            self._triangle = self._with(waiting[:rows])

    @property
    def mean(self) -> np.ndarray:
        """The mean of the features, float64 `[D]`."""
        triangle = self._whole()
        return triangle[0, 1:] / triangle[0, 0]

    @property
    def deviation(self) -> np.ndarray:
        """A matrix S, float64 `[min(n - 1, D), D]`: SᵀS is the covariance, with n - 1 as divisor."""
        return self._whole()[1:, 1:] / np.sqrt(self.num_images - 1)

    def _whole(self) -> np.ndarray:
        if self._waiting and sum(map(len, self._waiting)):
            self._triangle = self._with(np.concatenate(self._waiting))
            self._waiting = []
        assert self._triangle is not None
        return self._triangle

    def _with(self, features: np.ndarray) -> np.ndarray:
        watchdog.progress("the covariance of features")
        ones = np.ones((len(features), 1))
        rows = np.concatenate([ones, np.asarray(features, np.float64)], axis=1)
        above = [] if self._triangle is None else [self._triangle]
        return np.asarray(np.linalg.qr(np.concatenate([*above, rows]), mode="r"))


def row_blocks(features: np.ndarray, num_columns: int) -> Iterator[slice]:
    """Yields slices of rows, of which a float64 matrix with `num_columns` columns is one block in memory."""
    size = max(1, _BLOCK_BYTES // (8 * max(num_columns, features.shape[1])))
    for first in range(0, len(features), size):
        watchdog.progress(f"the comparison of features, {first} and on of {len(features)}")
        yield slice(first, first + size)


def _rows_per_block(num_features: int) -> int:
    """At least as many rows as the triangle has, so that a decomposition is worth its work."""
    return max(num_features + 1, _BLOCK_BYTES // (8 * (num_features + 1)))
