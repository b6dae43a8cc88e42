"""The score of the FactorVAE paper."""

from typing import Any

import numpy as np

from vaeflow import registry, validation
from vaeflow.metrics.disentanglement import fixed_factors
from vaeflow.metrics.disentanglement.base import Score, settings_in_names
from vaeflow.metrics.disentanglement.representations import Representations

_USUAL_LEAST_VARIANCE = 0.05


@registry.score
class FactorVAEScore(Score):
    """How well the latent that varies least tells which factor the images of a batch share.

    Kim & Mnih 2018 (arXiv:1802.05983, section 4): all images of a batch share the value of one factor. The
    latent with the smallest variance in the batch, relative to its variance over all images, votes
    for this factor. The majority of the votes for each latent is the classifier, and its accuracy on
    other batches the score. 1 if each factor has a latent that depends on it alone; guessing at random has
    1 / F with F factors.

    Latents that have collapsed to the prior take no part: their centers hardly vary, and the ratio of two
    such variances is noise. A latent is active if the variance of its center over the n images is
    at least `least_variance`, where that of the prior is 1. The code that the study of Locatello et al. 2019
    (arXiv:1811.12359) published compares the standard deviation with 0.05 instead, so it keeps latents
    with a variance of 0.0025, and reports the number of all latents as that of the active ones. The sizes are
    those of the study. Without an active latent the score is 0.

    On noisy rotations of sprites' factors (`tests/fixtures/sprite_codes.py`), that code gives 0.8470 and
    0.8528 with two seeds, and this 0.8440 for fresh images. In a pool of 2,000 it is 0.7950: a batch of 64
    repeats some of the 50 or 63 images that share an orientation or a position.

    Args:
      batch_size: the images of a batch.
      num_train: the batches whose votes are counted.
      num_test: the batches that test the majority.
      least_variance: of the center of an active latent.
      **kwargs: see `Score`.
    """

    def __init__(
        self,
        batch_size: int = fixed_factors.STUDY_BATCH_SIZE,
        num_train: int = fixed_factors.STUDY_NUM_TRAIN,
        num_test: int = fixed_factors.STUDY_NUM_TEST,
        least_variance: float = _USUAL_LEAST_VARIANCE,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.batch_size = validation.positive_integer("FactorVAEScore.batch_size", batch_size)
        self.num_train = validation.positive_integer("FactorVAEScore.num_train", num_train)
        self.num_test = validation.positive_integer("FactorVAEScore.num_test", num_test)
        self.least_variance = validation.positive_number("FactorVAEScore.least_variance", least_variance)
        if self.batch_size == 1:
            raise ValueError(
                "`FactorVAEScore.batch_size` must be 2 or more, got 1: one image has no variance"
            )

    def measure(self, representations: Representations, seed: int) -> dict[str, float]:
        fixed_factors.check_factors("FactorVAEScore", representations)
        rng = self.generator(seed)
        variances = representations.codes.var(axis=0, ddof=1)
        active = variances >= self.least_variance
        if not active.any():
            return {"factor_vae_score": 0.0}

        def least_varying(fixed: np.ndarray) -> np.ndarray:
            batches = representations.batch(rng, (len(fixed), self.batch_size), fixed)[..., active]
            return np.argmin(batches.var(axis=1, ddof=1) / variances[active], axis=1)

        latents, fixed = fixed_factors.measure_batches(representations, rng, self.num_train, least_varying)
        votes = np.zeros((int(active.sum()), representations.num_factors), np.int64)
        np.add.at(votes, (latents, fixed), 1)
        latents, fixed = fixed_factors.measure_batches(representations, rng, self.num_test, least_varying)
        return {"factor_vae_score": float(np.mean(votes.argmax(axis=1)[latents] == fixed))}

    def conditions(self) -> list[str]:
        return settings_in_names(
            batch=(self.batch_size, fixed_factors.STUDY_BATCH_SIZE),
            train=(self.num_train, fixed_factors.STUDY_NUM_TRAIN),
            test=(self.num_test, fixed_factors.STUDY_NUM_TEST),
            variance=(self.least_variance, _USUAL_LEAST_VARIANCE),
        )
