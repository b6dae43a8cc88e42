"""The interventional robustness score."""

from typing import Any

import numpy as np

from vaeflow import registry, validation
from vaeflow.metrics.disentanglement.base import Score, settings_in_names
from vaeflow.metrics.disentanglement.representations import Representations

_STUDY_QUANTILE = 0.99


@registry.score
class IRS(Score):
    """The interventional robustness score (Suter et al. 2019, ICML, arXiv:1811.00007).

    `irs` is 1 if each latent depends on a single factor, whatever becomes of the others. While factor j
    keeps a value, latent i strays from its mean over these images by a largest deviation. The mean of
    this over the values of j, divided by the largest deviation over all images, is what other
    factors do to the latent; 1 minus it is the robustness of i to them. The score is the mean over the
    latents of the largest robustness, for the factor that the latent stands for, weighted by the
    latents' largest deviations: a latent that never changes does not count. A latent may be so lopsided
    that it strays further from the means of the parts than from that of all images; its robustness is
    then 0, where the code named below has a negative number.

    It assumes that the factors are independent and that an image is determined by them. A
    value that few images have looks robust, so the score falls when `num_points` grows.

    On 2,000 noisy rotations of sprites' factors (`tests/fixtures/sprite_codes.py`), the code of
    Locatello et al. 2019 (arXiv:1811.12359) gives 0.4727 and this 0.4854: it puts the 40 orientations and
    the 32 positions into 20 bins, where this keeps all values apart. Its number of active latents, a sum
    of the latents themselves, is not repeated.

    Args:
      quantile: of the deviations while a factor keeps its value, in (0, 1]; the paper takes the largest, 1.
      **kwargs: see `Score`.
    """

    def __init__(self, quantile: float = _STUDY_QUANTILE, **kwargs: Any):
        super().__init__(**kwargs)
        self.quantile = validation.share("IRS.quantile", quantile)

    def measure(self, representations: Representations, seed: int) -> dict[str, float]:
        return {
            "irs": interventional_robustness(representations.codes, representations.factors, self.quantile)
        }

    def conditions(self) -> list[str]:
        return settings_in_names(quantile=(self.quantile, _STUDY_QUANTILE))


def interventional_robustness(codes: np.ndarray, factors: np.ndarray, quantile: float) -> float:
    """Computes the score.

    Args:
      codes: float64 `[n, D]`.
      factors: int64 `[n, F]`.
      quantile: see `IRS`.

    Returns:
      From 0 to 1; 0 if no latent ever changes.
    """
    largest = np.max(np.abs(codes - codes.mean(axis=0)), axis=0)
    changing = np.ptp(codes, axis=0) > 0
    if not changing.any():
        return 0.0
    codes, largest = codes[:, changing], largest[changing]
    strayed = np.stack([_deviation(codes, values, quantile) for values in factors.T], axis=1)
    robustness = np.maximum(1.0 - strayed / largest[:, None], 0.0)
    return float(np.average(robustness.max(axis=1), weights=largest))


def _deviation(codes: np.ndarray, values: np.ndarray, quantile: float) -> np.ndarray:
    """Returns how far each latent strays from its mean while a factor keeps a value, `[D]`."""
    of_values = []
    for value in np.unique(values):
        group = codes[values == value]
        of_values.append(np.quantile(np.abs(group - group.mean(axis=0)), quantile, axis=0))
    return np.mean(of_values, axis=0)
