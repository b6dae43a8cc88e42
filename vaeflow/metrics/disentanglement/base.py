"""The base class of disentanglement scores."""

import zlib
from typing import Any

import numpy as np

from vaeflow import validation
from vaeflow.metrics.disentanglement.representations import Representations

PROTOCOLS = ("pool", "published")
USUAL_NUM_POINTS = 10_000


class Score:
    """Compares the latents of a model with the factors of its images, from which these were made.

    A model's representation of an image is the center of q(z|x), one vector (Locatello et al. 2019,
    arXiv:1811.12359). The protocol says which images a score sees. In `"pool"`, all are those
    of one random choice of a split. In `"published"`, as in the papers, they are made for the
    factors that a score draws, from all combinations of values, also those of the training split.

    Args:
      protocol: `"pool"` or `"published"`; see `Pool` and `FreshImages`.
      num_points: the number of images, n, at most those of the split in the pool; None for 10,000.

    Raises:
      ValueError: a setting is out of range.

    Example:
        @registry.score
        class LargestCorrelation(Score):
            def measure(self, representations, seed):
                codes, factors = representations.codes, representations.factors
                between = np.corrcoef(codes, factors, rowvar=False)[: codes.shape[1], codes.shape[1] :]
                return {"largest_correlation": float(np.nanmax(np.abs(between), axis=0).mean())}
    """

    def __init__(self, protocol: str = "pool", num_points: int | None = None):
        name = type(self).__name__
        self.protocol = validation.one_of(f"{name}.protocol", protocol, PROTOCOLS)
        chosen = USUAL_NUM_POINTS if num_points is None else num_points
        self.num_points = validation.positive_integer(f"{name}.num_points", chosen)

    def measure(self, representations: Representations, seed: int) -> dict[str, float]:
        """Computes the score, in NumPy on the host.

        Args:
          representations: of the images that the protocol chose.
          seed: of the evaluation; `generator` makes random numbers from it.

        Returns:
          A dict from names, which no other score may use, to floats.

        Raises:
          ConfigurationError: the score is not defined for these factors or latents.
        """
        raise NotImplementedError

    def conditions(self) -> list[str]:
        """Lists the settings without which figures cannot be compared, where they are not the usual ones.

        Returns:
          For the names of the results, e.g. `["bins=10"]`; protocol and points are there anyway.
        """
        return []

    def generator(self, seed: int, *use: int) -> np.random.Generator:
        """Makes a generator for one use of the seed, which no other score has.

        Args:
          seed: of the evaluation.
          *use: numbers of this use, e.g. that of a factor.
        """
        return np.random.default_rng((seed, zlib.crc32(type(self).__name__.encode()), *use))

    def random_state(self, seed: int, *use: int) -> int:
        """Draws a `random_state` for an estimator of scikit-learn; arguments as for `generator`."""
        return int(self.generator(seed, *use).integers(2**31))


def settings_in_names(**settings: tuple[Any, Any]) -> list[str]:
    """Names the settings that differ from the usual ones.

    Args:
      **settings: name in the key -> the value and the usual one.

    Returns:
      E.g. `["bins=10"]`.
    """
    return [f"{name}={value}" for name, (value, usual) in settings.items() if value != usual]
