"""Precision and recall of a set of features, by the manifolds of nearest neighbours."""

from typing import Any

import numpy as np

from vaeflow import registry, validation
from vaeflow.metrics.fidelity.base import FeatureMetric
from vaeflow.metrics.fidelity.features import row_blocks


@registry.metric
class PrecisionRecall(FeatureMetric):
    """Precision and recall by nearest neighbours (Kynkäänniemi et al. 2019, arXiv:1904.06991, Eq. 1, 2).

    The manifold of a set is the union of balls around its features, each as wide as the distance to
    the k-th nearest other feature of the set. `rprecision` and `gprecision` are the share of what the
    model makes that lies on the manifold of the images; `rrecall` and `grecall` the share of the
    images on the manifold of what the model makes. It costs n² D operations.

    Args:
      num_neighbors: k.
      **kwargs: as for `FeatureMetric`.
    """

    def __init__(self, num_neighbors: int = 3, **kwargs: Any):
        super().__init__(**kwargs)
        self.num_neighbors = validation.positive_integer("PrecisionRecall.num_neighbors", num_neighbors)
        self.fewest_images = self.num_neighbors + 1

    def conditions(self, of: str) -> list[str]:
        return [*super().conditions(of), f"k={self.num_neighbors}"]

    def compare(self, real: Any, other: Any, seed: int) -> dict[str, float]:
        # Around their common mean, distances lose fewer digits.
        center = np.mean(real.array, axis=0, dtype=np.float64)
        images, made = (features.array.astype(np.float64) - center for features in (real, other))
        return {
            "precision": _share_on_manifold(made, images, self.num_neighbors),
            "recall": _share_on_manifold(images, made, self.num_neighbors),
        }


def _share_on_manifold(points: np.ndarray, features: np.ndarray, num_neighbors: int) -> float:
    """Returns the share of `points` `[m, D]` inside a ball around one of `features` `[n, D]`."""
    radii = np.empty(len(features))
    for rows in row_blocks(features, len(features)):
        distances = _squared_distances(features[rows], features)
        # Without itself, which another feature of the same value is not.
        distances[np.arange(len(distances)), np.arange(len(features))[rows]] = np.inf
        radii[rows] = np.partition(distances, num_neighbors - 1, axis=1)[:, num_neighbors - 1]
    inside = 0
    for rows in row_blocks(points, len(features)):
        inside += np.sum(np.any(_squared_distances(points[rows], features) <= radii, axis=1))
    return float(inside / len(points))


def _squared_distances(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Returns |x − y|² of each pair, `[n, m]`; 0 where rounding alone would tell the two apart."""
    squares = np.sum(np.square(one), axis=1)[:, None] + np.sum(np.square(other), axis=1)
    distances = squares - 2.0 * (one @ other.T)
    rounding = 4.0 * one.shape[1] * np.finfo(np.float64).eps
    return np.where(distances <= rounding * squares, 0.0, distances)
