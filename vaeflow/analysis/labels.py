"""The labels of new images, for a model that reads them."""

from typing import Any

import numpy as np

from vaeflow.analysis.examples import spread_indices
from vaeflow.datasets.base import Split
from vaeflow.errors import ConfigurationError

_MOST_COLUMNS = 16


def labels_of_samples(model: Any, split: Split, num_samples: int, chosen: Any = None) -> np.ndarray | None:
    """Chooses a label of each factor for every new image.

    Args:
      model: a model; None is returned for one that reads no labels.
      split: whose factors the labels are.
      num_samples: n.
      chosen: an integer, a list of them to go through in turn, or with several factors a list
        with an integer for each, or of such lists. None goes through the values of a single
        factor, and takes the labels of images of the split where there are several.

    Returns:
      int64 `[n, F]`, or None.

    Raises:
      ConfigurationError: the model reads no labels, or `chosen` are none of this split.
    """
    if "labels" not in model.reads:
        if chosen is not None:
            raise ConfigurationError(
                f"`sample.labels` must be left out, got {chosen!r}: {type(model).__name__} reads no labels"
            )
        return None
    sizes = tuple(split.factor_sizes)
    if chosen is not None:
        rows = _rows(chosen, sizes, split.factor_names)
    elif len(sizes) == 1:
        rows = np.arange(sizes[0])[:, None]
    else:
        rows = np.asarray(split.factors(spread_indices(split.num_examples, num_samples)))
    return np.resize(rows, (num_samples, len(sizes))).astype(np.int64)


def columns_of_samples(labels: np.ndarray | None, otherwise: int) -> int:
    """Returns how many columns show new images: one or several for each label where these repeat in turn.

    Args:
      labels: int64 `[n, F]`, of `labels_of_samples`.
      otherwise: the columns of images without labels, or where there are too many of these; and about
        those of a few labels.
    """
    different = len(np.unique(labels, axis=0)) if labels is not None else 0
    if not 1 < different <= _MOST_COLUMNS:
        return otherwise
    return different * max(1, otherwise // different)


def _rows(chosen: Any, sizes: tuple[int, ...], names: tuple[str, ...]) -> np.ndarray:
    """Returns the labels that a user gave, int64 `[m, F]`."""
    wanted = " and ".join(f"{name} in 0 … {size - 1}" for name, size in zip(names, sizes, strict=True))
    error = ConfigurationError(f"`sample.labels` must be integers, {wanted}, got {chosen!r}")
    try:
        given = np.array(chosen)
    except ValueError:
        raise error from None
    if given.dtype.kind not in "iu" or not given.size or given.ndim > 2:
        raise error
    rows = given.reshape(-1, 1) if len(sizes) == 1 and given.ndim < 2 else np.atleast_2d(given)
    if rows.shape[1] != len(sizes) or (rows < 0).any() or (rows >= np.array(sizes)).any():
        raise error
    return rows
