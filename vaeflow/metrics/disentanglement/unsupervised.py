"""Scores that need no factors: how dependent the latents are on each other."""

from typing import Any

import numpy as np

from vaeflow import registry, validation
from vaeflow.metrics.disentanglement.base import Score, settings_in_names
from vaeflow.metrics.disentanglement.information import STUDY_NUM_BINS, binned, mutual_information
from vaeflow.metrics.disentanglement.representations import Representations

REPRESENTATIONS = ("mean", "sampled")


@registry.score
class UnsupervisedScores(Score):
    """How dependent the latents are, without factors (Locatello et al. 2019, ICML, arXiv:1811.12359).

    All are 0 for independent latents and grow with their dependence; C is the covariance of the latents:

    - `gaussian_total_correlation`, in nats: KL(N(0, C) ‖ N(0, diag C)) = ½ (Σ_i ln C_ii − ln det C). Linearly
      dependent latents, whose total correlation is infinite, get about 18 nats for each dependence;
    - `gaussian_wasserstein_correlation`: the squared 2-Wasserstein distance of the same two Gaussians, in
      units of the latents squared, and `gaussian_wasserstein_correlation_norm`: the same divided by tr C;
    - `mutual_information_score`, in nats: the mean over all pairs of latents of the mutual information of
      their joint histogram. Few images or many bins raise it above 0.

    They say nothing of the images: latents that ignore these are as independent as any.

    On 2,000 noisy rotations of sprites' factors (`tests/fixtures/sprite_codes.py`), the code of the study
    gives 0.3768, 0.3060, 0.0474 and 0.0918, and this the same.

    Args:
      representation: `"mean"` for the center of q(z|x); `"sampled"` for a sample of q(z|x), so that C
        is that of the aggregate posterior, the mean of q(z|x) over the images. The study compares both.
      num_bins: the bins of each latent.
      **kwargs: see `Score`.
    """

    def __init__(self, representation: str = "mean", num_bins: int = STUDY_NUM_BINS, **kwargs: Any):
        super().__init__(**kwargs)
        name = "UnsupervisedScores"
        self.representation = validation.one_of(f"{name}.representation", representation, REPRESENTATIONS)
        self.num_bins = validation.positive_integer(f"{name}.num_bins", num_bins)

    def measure(self, representations: Representations, seed: int) -> dict[str, float]:
        latents = representations.codes
        if self.representation == "sampled":
            latents = representations.embedding.latents.astype(np.float64)
        covariance = np.atleast_2d(np.cov(latents, rowvar=False))
        distance = gaussian_wasserstein_correlation(covariance)
        spread = float(np.trace(covariance))
        return {
            "gaussian_total_correlation": gaussian_total_correlation(covariance),
            "gaussian_wasserstein_correlation": distance,
            "gaussian_wasserstein_correlation_norm": distance / spread if spread > 0 else 0.0,
            "mutual_information_score": mean_mutual_information(latents, self.num_bins),
        }

    def conditions(self) -> list[str]:
        return settings_in_names(
            representation=(self.representation, "mean"), bins=(self.num_bins, STUDY_NUM_BINS)
        )


def gaussian_total_correlation(covariance: np.ndarray) -> float:
    """Returns the total correlation of a Gaussian of covariance `[D, D]`, in nats.

    A variable of variance 0 is independent of the others. An eigenvalue of the correlations below the
    rounding of float64 counts as this.
    """
    deviations = np.sqrt(np.diag(covariance))
    varying = deviations > 0
    correlations = covariance[np.ix_(varying, varying)] / np.outer(deviations[varying], deviations[varying])
    eigenvalues = np.maximum(np.linalg.eigvalsh(correlations), np.finfo(np.float64).eps)
    return float(max(0.0, -0.5 * np.sum(np.log(eigenvalues))))


def gaussian_wasserstein_correlation(covariance: np.ndarray) -> float:
    """Returns the squared 2-Wasserstein distance of a Gaussian to the product of its marginals.

    Args:
      covariance: C, `[D, D]`.

    Returns:
      2 tr C − 2 tr (S C S)^½, with S the diagonal matrix of the standard deviations.
    """
    deviations = np.sqrt(np.diag(covariance))
    eigenvalues = np.linalg.eigvalsh(covariance * np.outer(deviations, deviations))
    roots = np.sqrt(np.maximum(eigenvalues, 0.0))
    return float(max(0.0, 2.0 * np.trace(covariance) - 2.0 * np.sum(roots)))


def mean_mutual_information(latents: np.ndarray, num_bins: int) -> float:
    """Returns the mean over the pairs of latents `[n, D]` of their mutual information in bins, in nats."""
    num_latents = latents.shape[1]
    if num_latents < 2:
        return 0.0
    labels = binned(latents, num_bins)
    information = mutual_information(labels, labels)
    num_pairs = num_latents * (num_latents - 1)
    return float((information.sum() - np.trace(information)) / num_pairs)
