"""Draws from the mean of the posteriors of training images."""

from typing import Any

import numpy as np

from vaeflow import random, registry
from vaeflow.samplers.base import Embedding, Sampler


@registry.sampler
class AggregatePosteriorSampler(Sampler):
    """Draws from the aggregate posterior, the mean of q(z|x) over the training images.

    It picks an image uniformly, then draws z ~ q(z|x) anew where that is a Gaussian, and takes the
    draw of the embedding elsewhere. The decoder was trained on such
    latents, which samples from the prior may miss (Makhzani et al. 2015, arXiv:1511.05644,
    section 2; Tomczak & Welling 2018, arXiv:1705.07120).
    """

    def fit(self, model: Any, embedding: Embedding, seed: int) -> None:
        if embedding.is_gaussian:
            self._mean = np.asarray(embedding.parameters["mean"])
            self._deviation = np.exp(0.5 * np.asarray(embedding.parameters["log_variance"]))
        else:
            self._mean = np.asarray(embedding.latents)
            self._deviation = np.zeros_like(self._mean)

    def sample(self, num_samples: int, seed: int) -> np.ndarray:
        with random.keyed(seed, "aggregate posterior sampler", 0):
            uniform = np.asarray(random.uniform((num_samples, 1), "float64"))[:, 0]
            noise = np.asarray(random.normal((num_samples, self._mean.shape[1]), self._mean.dtype.name))
        # `uniform` is in (0, 1], so 1 − `uniform` is in [0, 1).
        chosen = ((1.0 - uniform) * len(self._mean)).astype(np.int64)
        return self._mean[chosen] + self._deviation[chosen] * noise
