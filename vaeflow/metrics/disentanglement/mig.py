"""The mutual information gap."""

from typing import Any

import numpy as np

from vaeflow import registry, validation
from vaeflow.metrics.disentanglement.base import Score, settings_in_names
from vaeflow.metrics.disentanglement.information import (
    STUDY_NUM_BINS,
    binned,
    entropies,
    mutual_information,
)
from vaeflow.metrics.disentanglement.representations import Representations


@registry.score
class MIG(Score):
    """The mutual information gap: by how much one latent knows more of a factor than every other.

    Chen, Li, Grosse & Duvenaud 2018 (arXiv:1802.04942), Eq. 6: the mean over the factors v of
    (I(z_1; v) − I(z_2; v)) / H(v), where z_1 and z_2 are the two latents that know most of v. 1 if for each
    factor there is one latent that determines it, and no other knows anything of it; 0 if two
    know equally much. The paper takes I from samples of q(z|x); this takes it from the joint
    histogram of the factor and the center of q(z|x) in bins, as Locatello et al. 2019
    (arXiv:1811.12359) do.

    A histogram of few images finds information where there is none; the two terms share most of this bias.

    On 2,000 noisy rotations of sprites' factors (`tests/fixtures/sprite_codes.py`), the code of the study
    gives 0.0832, and this the same.

    Args:
      num_bins: the bins of each latent.
      **kwargs: see `Score`.
    """

    def __init__(self, num_bins: int = STUDY_NUM_BINS, **kwargs: Any):
        super().__init__(**kwargs)
        self.num_bins = validation.positive_integer("MIG.num_bins", num_bins)

    def measure(self, representations: Representations, seed: int) -> dict[str, float]:
        factors = representations.factors
        information = mutual_information(binned(representations.codes, self.num_bins), factors)
        return {"mig": float(np.mean(gap_of_two_largest(information) / entropies(factors)))}

    def conditions(self) -> list[str]:
        return settings_in_names(bins=(self.num_bins, STUDY_NUM_BINS))


def gap_of_two_largest(of_latents: np.ndarray) -> np.ndarray:
    """Returns for each factor the largest value of a latent minus the second largest.

    Args:
      of_latents: `[D, F]`; of a single latent, the second is 0.

    Returns:
      `[F]`.
    """
    none = np.zeros((2 - min(2, len(of_latents)), of_latents.shape[1]))
    ordered = np.sort(np.concatenate([of_latents, none]), axis=0)
    return ordered[-1] - ordered[-2]
