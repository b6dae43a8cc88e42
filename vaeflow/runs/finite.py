"""The one check that numbers are finite before they are kept or reported."""

from collections.abc import Iterable
from typing import Any

import numpy as np


def first_not_finite(values: Iterable[tuple[str, Any]]) -> str | None:
    """Finds a number that is infinite or NaN.

    Args:
      values: pairs of a name and a number, an array of any type, or something else, which passes.

    Returns:
      The name of the first pair that holds such a number; None if all are finite.
    """
    for name, value in values:
        array = np.asarray(value)
        # The numbers of bits below 32 that NumPy does not know, such as bfloat16, are of kind V.
        if array.dtype.kind in "fcV" and not np.isfinite(array).all():
            return name
    return None
