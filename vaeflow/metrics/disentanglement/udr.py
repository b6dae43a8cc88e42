"""Unsupervised disentanglement ranking: how alike the latents of several runs are."""

from collections.abc import Sequence

import numpy as np

from vaeflow import registry, validation
from vaeflow.metrics.disentanglement.comparison import Comparison, Latents

SIMILARITIES = ("lasso", "spearman")
_LASSO_WEIGHT = 0.1  # Of the paper's code, on latents of variance 1.


@registry.score
class UDR(Comparison):
    """Unsupervised disentanglement ranking (Duan et al. 2020, arXiv:1905.12614, section 4).

    It needs no factors: runs that disentangle find the same latents, up to their order, sign and
    scale, and runs that do not find others with each seed. R(a, b) says how alike latent a of one run and
    latent b of another are, from 0 to 1. Their latents whose mean KL is above `threshold` count, d_1 and d_2
    of them; a pair of runs scores

        1 / (d_1 + d_2) · (Σ_b max_a R(a, b)² / Σ_a R(a, b) + Σ_a max_b R(a, b)² / Σ_b R(a, b))

    and `udr` of a run is the median over its pairs with all the others. It is 1 if each latent
    of one run is one latent of the other, and 0 for a run whose latents are all unused. The authors' code
    takes the mean of two means instead, which is the same if d_1 = d_2. In a study:
    `study.compare = [@UDR()]`.

    Args:
      similarity: `"lasso"` for the absolute weights of an L1-regularized linear regression of weight 0.1
        that predicts a run's own latents from those of the other, all scaled to variance 1: a
        perfect pair then scores 0.9; `"spearman"` for the absolute rank correlation.
      threshold: in nats.
      among: `"seeds"` as in the paper; `"all"` is its UDR-A2A.

    Raises:
      ValueError: a setting is out of range.
    """

    def __init__(self, similarity: str = "lasso", threshold: float = 0.01, among: str = "seeds"):
        super().__init__(among)
        self.similarity = validation.one_of("UDR.similarity", similarity, SIMILARITIES)
        self.threshold = validation.non_negative_number("UDR.threshold", threshold)

    def conditions(self) -> list[str]:
        usual = self.threshold == 0.01
        return [self.similarity, *([] if usual else [f"threshold={self.threshold:g}"])]

    def compare(self, runs: Sequence[Latents]) -> list[dict[str, float]]:
        informative = [run.codes[:, run.kl > self.threshold] for run in runs]
        similarity = lasso_similarity if self.similarity == "lasso" else spearman_similarity
        scores = []
        for at, own in enumerate(informative):
            others = [other for place, other in enumerate(informative) if place != at]
            scores.append({"udr": float(np.median([pair_score(similarity(other, own)) for other in others]))})
        return scores


def pair_score(similarity: np.ndarray) -> float:
    """Returns the score of a pair of runs from the similarities of their informative latents, `[A, B]`."""
    if not similarity.size:
        return 0.0
    total = 0.0
    for axis in (0, 1):
        sums = similarity.sum(axis=axis)
        total += np.sum(np.square(similarity.max(axis=axis)) / np.where(sums > 0, sums, 1.0))
    return float(total / sum(similarity.shape))


def lasso_similarity(codes: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """Returns the absolute weights of lasso regressions.

    Args:
      codes: float64 `[n, A]`, the predictors.
      predicted: float64 `[n, B]`, of another run.

    Returns:
      `[A, B]`.
    """
    if not codes.shape[1] or not predicted.shape[1]:
        return np.zeros((codes.shape[1], predicted.shape[1]))
    from sklearn.linear_model import Lasso

    fitted = Lasso(alpha=_LASSO_WEIGHT).fit(_standardized(codes), _standardized(predicted))
    return np.abs(np.reshape(fitted.coef_, (predicted.shape[1], codes.shape[1]))).T


def spearman_similarity(codes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Returns the absolute rank correlations of codes `[n, A]` and `[n, B]`, `[A, B]`."""
    return np.abs(_standardized(_ranks(codes)).T @ _standardized(_ranks(others))) / len(codes)


def _ranks(codes: np.ndarray) -> np.ndarray:
    """Replaces each value by its rank in its column, and equal ones by the mean of their ranks."""
    ranks = np.empty(codes.shape)
    for column, of_column in zip(codes.T, ranks.T, strict=True):
        _, place, counts = np.unique(column, return_inverse=True, return_counts=True)
        of_column[:] = (np.cumsum(counts) - (counts - 1) / 2)[place]
    return ranks


def _standardized(codes: np.ndarray) -> np.ndarray:
    deviations = codes.std(axis=0)
    return (codes - codes.mean(axis=0)) / np.where(deviations > 0, deviations, 1.0)
