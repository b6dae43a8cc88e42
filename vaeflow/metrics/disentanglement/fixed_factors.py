"""Batches with a fixed factor, from which a score guesses which factor it is."""

from collections.abc import Callable

import numpy as np

from vaeflow.errors import ConfigurationError
from vaeflow.metrics.disentanglement.representations import Representations

# Of Locatello et al. 2019 (arXiv:1811.12359), appendix C.
STUDY_BATCH_SIZE = 64
STUDY_NUM_TRAIN = 10_000
STUDY_NUM_TEST = 5_000

_BATCHES_AT_A_TIME = 500


def measure_batches(
    representations: Representations,
    rng: np.random.Generator,
    num_batches: int,
    measure: Callable[[np.ndarray], np.ndarray],
) -> tuple[np.ndarray, np.ndarray]:
    """Fixes a random factor in each of many batches, and measures these.

    Args:
      representations: whose factors are fixed.
      rng: chooses the factors.
      num_batches: m.
      measure: takes the fixed factors of some batches, int64 `[k]`; returns what it found, `[k, …]`.

    Returns:
      What was found, `[m, …]`, and the fixed factors, int64 `[m]`.
    """
    fixed = rng.integers(representations.num_factors, size=num_batches)
    parts = np.split(fixed, range(_BATCHES_AT_A_TIME, num_batches, _BATCHES_AT_A_TIME))
    return np.concatenate([measure(part) for part in parts]), fixed


def check_factors(score: str, representations: Representations) -> None:
    """Raises `ConfigurationError` where there is only one factor to guess."""
    if representations.num_factors < 2:
        raise ConfigurationError(
            f"{score} guesses which factor is fixed, and the images have one, "
            f"{representations.factor_names[0]!r}; leave it out of `evaluate.scores`"
        )
