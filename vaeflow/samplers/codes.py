"""Draws from a prior over codes."""

from typing import Any

import numpy as np

from vaeflow import random, registry, validation
from vaeflow.errors import ConfigurationError
from vaeflow.runs import watchdog
from vaeflow.samplers.base import Embedding, Sampler
from vaeflow.samplers.prior import PriorSampler

# How many maps of codes are drawn at a time: always as many, so that a map has the same bits
# however many are wanted.
_CODE_ROWS = 64


@registry.sampler
class CodeSampler(Sampler):
    """Draws maps of codes from a `CodePrior`, of which `sample` makes images by its tokenizer.

    Args:
      temperature: above 0; 1 for the model itself. Lower ones prefer what is likely anyway.
      top_k: how many codes are possible at each place at most, the likeliest; None for all.
      top_p: the probability of the codes that are possible, the likeliest; None for all.

    Raises:
      ValueError: a setting is out of range.
    """

    def __init__(self, temperature: float = 1.0, top_k: int | None = None, top_p: float | None = None):
        self.temperature = validation.positive_number("CodeSampler.temperature", temperature)
        self.top_k = None if top_k is None else validation.positive_integer("CodeSampler.top_k", top_k)
        self.top_p = None if top_p is None else validation.share("CodeSampler.top_p", top_p)

    @property
    def name(self) -> str:
        """The name of its files, as of those of other models' priors: `prior`."""
        return PriorSampler().name

    def fit(self, model: Any, embedding: Embedding, seed: int) -> None:
        raise ConfigurationError(
            f"CodeSampler draws codes, which a {type(model).__name__} has not; set `sample.samplers = "
            "[@PriorSampler()]`, or leave it out"
        )

    def use(self, model: Any) -> None:
        """Draws from this `CodePrior` from now on; nothing is fitted."""
        self._model = model

    def sample(self, num_samples: int, seed: int, labels: np.ndarray | None = None) -> np.ndarray:
        """Draws codes, int32 `[n, h, w, G]`; `labels`, int64 `[n, F]`, if the model reads them."""
        drawn = []
        for first in range(0, num_samples, _CODE_ROWS):
            watchdog.progress(f"codes of the images {first} and on of {num_samples}")
            rows = (
                None
                if labels is None
                else np.resize(labels[first : first + _CODE_ROWS], (_CODE_ROWS, labels.shape[1]))
            )
            with random.keyed(seed, "code sampler", 0, first):
                codes = self._model.sample(_CODE_ROWS, rows, self.temperature, self.top_k, self.top_p)
            drawn.append(np.asarray(codes))
        return np.concatenate(drawn)[:num_samples]
