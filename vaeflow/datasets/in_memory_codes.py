"""Codes or latents that are held in memory as one array."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from vaeflow import validation
from vaeflow.datasets.base import Split
from vaeflow.datasets.in_memory import InMemorySplit
from vaeflow.errors import DataError, user_code


class InMemoryCodes(InMemorySplit):
    """A split of codes, held as one array, for a model that takes codes such as `CodePrior`.

    Args:
      array: integers `[N, h, w, G]`: G codes at each of h x w places; held as int32.
      code_sizes: K_1 … K_G; those of group g are from 0 to K_g − 1.
      factors: the labels, as for `InMemorySplit`.
      factor_names: as for `InMemorySplit`.
      factor_sizes: as for `InMemorySplit`.

    Raises:
      DataError: the array holds something else, or the factors are wrong.
      ValueError: another argument is out of range.
    """

    def __init__(
        self,
        array: np.ndarray,
        code_sizes: Sequence[int],
        factors: np.ndarray | None = None,
        factor_names: Sequence[str] = (),
        factor_sizes: Sequence[int] | None = None,
    ):
        sizes = validation.positive_integers("InMemoryCodes.code_sizes", code_sizes)
        _check_codes(array, sizes)
        # Not the constructor in between, which takes images.
        Split.__init__(self, len(array), array.shape[1:], "int32", "codes")
        self.code_sizes = sizes
        self.array = np.ascontiguousarray(array, np.int32)
        self._factors = self._described_factors(factors, factor_names, factor_sizes)


class InMemoryLatents(InMemorySplit):
    """A split of latents, held as one array, for a model that takes latents such as `DiffusionPrior`.

    Args:
      array: floats `[N, h, w, D]`, any numbers; held as float32.
      factors: the labels, as for `InMemorySplit`.
      factor_names: as for `InMemorySplit`.
      factor_sizes: as for `InMemorySplit`.

    Raises:
      DataError: the array holds something else, or the factors are wrong.
    """

    def __init__(
        self,
        array: np.ndarray,
        factors: np.ndarray | None = None,
        factor_names: Sequence[str] = (),
        factor_sizes: Sequence[int] | None = None,
    ):
        is_right = isinstance(array, np.ndarray) and array.ndim == 4 and array.dtype.kind == "f"
        if not is_right or not np.isfinite(array).all():
            raise DataError(
                "latents must be a NumPy array [N, h, w, D] of finite floats, got "
                f"{user_code.described(array)}"
            )
        Split.__init__(self, len(array), array.shape[1:], "float32", "latents")
        self.array = np.ascontiguousarray(array, np.float32)
        self._factors = self._described_factors(factors, factor_names, factor_sizes)


def _check_codes(array: Any, sizes: Sequence[int]) -> None:
    if not isinstance(array, np.ndarray) or array.ndim != 4 or array.dtype.kind not in "iu":
        raise DataError(
            f"codes must be a NumPy array [N, h, w, G] of integers, got {user_code.described(array)}"
        )
    if array.shape[3] != len(sizes):
        raise DataError(
            f"the array holds {array.shape[3]} codes for each place, and `InMemoryCodes.code_sizes` names "
            f"{len(sizes)}; give one size for each"
        )
    wrong = np.argwhere((array < 0) | (array >= np.array(sizes)))
    if len(wrong):
        example, *_, group = wrong[0].tolist()
        raise DataError(
            f"example {example} holds the code {array[tuple(wrong[0])]} of group {group}; expected 0 to "
            f"{sizes[group] - 1}, as `InMemoryCodes.code_sizes` says"
        )
