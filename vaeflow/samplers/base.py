"""What a sampler is, and what it is fitted to."""

import abc
import re
from typing import Any, Protocol

import numpy as np


class Embedding(Protocol):
    """The latents of some images, one group of them, as `vaeflow.analysis.embedding` computes them.

    Attributes:
      center: the value that stands for each q(z|x), such as its mean, NumPy `[n, D]`.
      latents: one draw z ~ q(z|x) for each image, NumPy `[n, D]`.
      parameters: what describes each q(z|x), name -> NumPy `[n, …]`; of a Gaussian `mean`
        and `log_variance`.
    """

    @property
    def center(self) -> np.ndarray: ...

    @property
    def latents(self) -> np.ndarray: ...

    @property
    def parameters(self) -> dict[str, np.ndarray]: ...

    @property
    def is_vector(self) -> bool: ...

    @property
    def is_gaussian(self) -> bool: ...


class Sampler(abc.ABC):
    """A distribution over the latents of a model with one group of them, a vector.

    Its samples are decoded to images. Models with other latents have `PriorSampler` only.

    Example:
        @registry.sampler
        class WideSampler(Sampler):
            def fit(self, model, embedding, seed):
                self.deviation = 2 * embedding.latents.std(axis=0)

            def sample(self, num_samples, seed):
                noise = np.random.default_rng(seed).normal(size=(num_samples, len(self.deviation)))
                return noise * self.deviation
    """

    @property
    def name(self) -> str:
        """The name of its files: `prior` for `PriorSampler`, and so on."""
        words = re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[^A-Z_]+", type(self).__name__.removesuffix("Sampler"))
        return "_".join(word.lower() for word in words) or "sampler"

    @abc.abstractmethod
    def fit(self, model: Any, embedding: Embedding, seed: int) -> None:
        """Learns from a trained model. It is called once, before `sample`.

        Args:
          model: the built model, e.g. for its `prior`.
          embedding: the latents of training images.
          seed: the seed of a fit that draws random numbers.

        Raises:
          ConfigurationError: the settings do not fit the embedding.
        """

    @abc.abstractmethod
    def sample(self, num_samples: int, seed: int) -> np.ndarray:
        """Draws latents, the same for the same seed.

        Args:
          num_samples: the number of samples, n.
          seed: the seed of the draw.

        Returns:
          NumPy `[n, D]`, in random order.
        """
