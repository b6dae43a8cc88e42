"""The Fréchet distance between Gaussians that two sets of features fit."""

from typing import Any

import numpy as np
from absl import logging

from vaeflow import registry
from vaeflow.metrics.fidelity.base import FeatureMetric
from vaeflow.metrics.fidelity.features import GaussianFit
from vaeflow.runs import watchdog


@registry.metric
class FrechetDistance(FeatureMetric):
    """The Fréchet distance of Gaussians fitted to features, `rfid` and `gfid` (Heusel et al. 2017).

    arXiv:1706.08500, Eq. 6: |m − m_w|² + tr(C + C_w − 2 (C C_w)^½), with the means and covariances
    of the features of both sets. It is the FID of published tables only where the net is the
    Inception net of these, with its layer and resizing. The estimate is biased and shrinks as images
    are added, so compare figures of equal numbers of images.

    With the covariances as SᵀS and TᵀT, the trace of (SᵀS TᵀT)^½ is the sum of the singular values of
    S Tᵀ. No matrix root is needed, and singular covariances, of fewer images than features, lose no
    digits.
    """

    keeps = GaussianFit

    def compare(self, real: Any, other: Any, seed: int) -> dict[str, float]:
        num_features = len(real.mean)
        fewest = min(real.num_images, other.num_images)
        if fewest <= num_features:
            logging.warning(
                "FrechetDistance: the covariance of %d features is singular with %d images; compare the "
                "distance only with others of as many images",
                num_features,
                fewest,
            )
        return {"fid": frechet_distance(real, other)}


def frechet_distance(one: GaussianFit, other: GaussianFit) -> float:
    """Returns the squared Fréchet distance of two Gaussians, at least 0."""
    watchdog.progress("the Fréchet distance")
    means = np.sum(np.square(one.mean - other.mean))
    first, second = one.deviation, other.deviation
    root = np.sum(np.linalg.svd(first @ second.T, compute_uv=False))
    return float(max(means + np.sum(np.square(first)) + np.sum(np.square(second)) - 2.0 * root, 0.0))
