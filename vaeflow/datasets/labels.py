"""Checks the labels of a source: integers from 0 on, which number the values of each factor.

A model may look a label up in a table or write it as a one-hot vector. What numbers nothing, such as −1
for "unknown" or the identifier of a file, is therefore refused before a model is trained on it.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from vaeflow import validation
from vaeflow.errors import DataError, user_code

# Of one factor. More are identifiers, and no table of a model holds them.
MOST_VALUES = 2**20

_ADVICE = "number the values from 0 on, for instance with np.unique(labels, return_inverse=True)[1]"


def checked(labels: Any, place: object, describe: Callable[[int], str] | None = None) -> np.ndarray:
    """Returns labels as they are held.

    Args:
      labels: an array `[N]` or `[N, F]` of integers, of bools (False is 0 and True is 1), or of
        floats that are all whole numbers.
      place: the file or object, for messages.
      describe: names the example of a row; None for its number in `place`.

    Returns:
      An int64 array `[N, F]`.

    Raises:
      DataError: it is something else, or a label is not in 0 … `MOST_VALUES` − 1.
    """
    if not isinstance(labels, np.ndarray) or labels.ndim not in (1, 2) or labels.dtype.kind not in "biuf":
        raise DataError(
            f"{place} must hold labels [N] or [N, F], integers from 0 on, got {user_code.described(labels)}; "
            f"{_ADVICE}"
        )
    columns = labels[:, None] if labels.ndim == 1 else labels
    wrong = ~((columns >= 0) & (columns < MOST_VALUES))  # True for what is no number.
    if labels.dtype.kind == "f":
        wrong |= columns != np.floor(columns)
    if wrong.any():
        row, factor = np.argwhere(wrong)[0]
        example = f"{place}, record {row}" if describe is None else describe(int(row))
        raise DataError(
            f"{example}: the label is {columns[row, factor]}; expected an integer from 0 to "
            f"{MOST_VALUES - 1:,}; {_ADVICE}"
        )
    return np.ascontiguousarray(columns, np.int64)


def checked_names(names: Any, num_factors: int, place: object) -> tuple[str, ...]:
    """Returns the names of the factors; `label`, or `label_0`, `label_1` and so on, if there are none.

    Args:
      names: a list of different names, or an empty one.
      num_factors: the number of factors.
      place: the setting, for messages.

    Raises:
      DataError: there are more or fewer names than factors, or they are not different.
    """
    is_list = isinstance(names, (list, tuple)) and all(isinstance(name, str) for name in names)
    if is_list and not names:
        return ("label",) if num_factors == 1 else tuple(f"label_{factor}" for factor in range(num_factors))
    if not is_list or len(names) != num_factors or len(set(names)) != num_factors:
        raise DataError(
            f"{place} must be a list of {num_factors} different names, one for each factor; got {names!r}"
        )
    return tuple(names)


def checked_sizes(sizes: Any, num_factors: int, place: object) -> tuple[int, ...]:
    """Returns the numbers of values of the factors, given by the user.

    Raises:
      DataError: there are more or fewer than factors.
      ValueError: they are not a list of positive integers.
    """
    listed = validation.positive_integers(str(place), sizes)
    if len(listed) != num_factors:
        raise DataError(f"{place} must be a list of {num_factors} sizes, one for each factor; got {sizes!r}")
    return listed


def sizes_of(labels: np.ndarray) -> tuple[int, ...]:
    """Returns the largest label of each factor plus 1, for labels int64 `[N, F]`."""
    return tuple((labels.max(axis=0) + 1).tolist())


def check_sizes(
    labels: np.ndarray, names: Sequence[str], sizes: Sequence[int], describe: Callable[[int], str]
) -> None:
    """Checks that labels `[n, F]` are in the range of their factors.

    Args:
      labels: non-negative int64 `[n, F]`.
      names: the F names.
      sizes: the F numbers of values.
      describe: names the example of a row of `labels`, for the error.

    Raises:
      DataError: a label is too large.
    """
    if (labels < sizes).all():
        return
    row, factor = np.argwhere(labels >= sizes)[0]
    raise DataError(
        f"{describe(int(row))}: the label {names[factor]!r} is {labels[row, factor]}; expected 0 to "
        f"{sizes[factor] - 1}, one of {sizes[factor]} values"
    )
