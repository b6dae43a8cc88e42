"""Chooses which examples of a source are held out, the same in every run."""

import numpy as np

from vaeflow import validation
from vaeflow.datasets.base import SPLITS
from vaeflow.errors import ConfigurationError

_HELD_OUT_SEED = 20180717
_VALIDATION_SEED = 20131220


def held_out_split(
    name: str, num_examples: int, num_evaluation: int, setting: str, seed: int = _HELD_OUT_SEED
) -> np.ndarray:
    """Lists the examples of one split of a source that has no evaluation split.

    The choice is the same in every run, whatever its seed.

    Args:
      name: `"train"` or `"evaluation"`.
      num_examples: the number of examples in both splits together.
      num_evaluation: the number of examples held out for evaluation.
      setting: the setting that decides `num_evaluation`, e.g. `Arrays.evaluation_fraction`.
      seed: of the choice.

    Returns:
      The indices, an increasing int64 array.

    Raises:
      ConfigurationError: the split would be empty.
      ValueError: `name` is something else.
    """
    validation.one_of("split", name, SPLITS)
    # RandomState, unlike Generator, promises the same draw in every version of NumPy.
    order = np.random.RandomState(seed).permutation(num_examples)
    chosen = order[num_evaluation:] if name == "train" else order[:num_evaluation]
    if not len(chosen):
        raise ConfigurationError(
            f"`{setting}` holds out {num_evaluation} of {num_examples} examples, which leaves none "
            f"for the {name} split; change `{setting}`"
        )
    return np.sort(chosen).astype(np.int64)


def num_held_out(num_examples: int, fraction: float) -> int:
    """Returns how many of `num_examples` a fraction in [0, 1) holds out: at least 1, unless it is 0."""
    return max(1, round(fraction * num_examples)) if fraction else 0


def validation_part(name: str, num_examples: int, fraction: float, setting: str) -> np.ndarray:
    """Lists the training images that are trained on (`"train"`) or held out (`"validation"`).

    The choice is the same in every run; see `held_out_split` for the result and `Raises`.
    """
    part = "train" if name == "train" else "evaluation"
    held_out = num_held_out(num_examples, fraction)
    return held_out_split(part, num_examples, held_out, setting, _VALIDATION_SEED)
