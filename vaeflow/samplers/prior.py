"""Draws from the model's own prior."""

from typing import Any

import numpy as np

from vaeflow import random, registry, validation
from vaeflow.samplers.base import Embedding, Sampler


@registry.sampler
class PriorSampler(Sampler):
    """Draws from the model's prior p(z), as in Kingma & Welling 2014 (arXiv:1312.6114).

    It serves every model, whatever its latents.

    Args:
      temperature: scales how far the draws spread; 1 for the prior itself. With several groups of
        latents also a dict, such as {'8x8_1': 0.8}, with 1 for groups that it does not name.
    """

    def __init__(self, temperature: validation.Temperature = 1.0):
        self.temperature = validation.temperature("PriorSampler.temperature", temperature)

    def fit(self, model: Any, embedding: Embedding | None, seed: int) -> None:
        """Takes the model; the prior needs no latents of images."""
        self._model = model

    def sample(self, num_samples: int, seed: int) -> np.ndarray:
        return next(iter(self.sample_latents(num_samples, seed).values()))

    def sample_latents(
        self, num_samples: int, seed: int, labels: np.ndarray | None = None
    ) -> dict[str, np.ndarray]:
        """Draws latents, group -> `[n, …]`; `labels`, int64 `[n, F]`, if the model reads them."""
        with random.keyed(seed, "prior sampler", 0):
            latents = self._model.sample_latents(num_samples, labels, self.temperature)
        return {name: np.asarray(value) for name, value in latents.items()}
