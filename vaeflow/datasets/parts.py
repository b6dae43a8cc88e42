"""A part of a split."""

import hashlib

import numpy as np
import tensorflow as tf

from vaeflow.datasets.base import InMemorySplit, Split
from vaeflow.datasets.pixels import NATIVE_RANGES


def part_of(split: Split, indices: np.ndarray) -> Split:
    """Returns the examples of a split at `indices`, int64 `[n]`; held in memory if the split is."""
    if split.array is None:
        return PartSplit(split, indices)
    as_it_is = {"layout": "NHWC", "pixel_range": NATIVE_RANGES[split.dtype]}
    return InMemorySplit(split.array[indices], split.factors(indices), split.factor_names, **as_it_is)


class PartSplit(Split):
    """Some examples of another split, read on demand.

    Args:
      split: the `Split`.
      indices: the numbers of the examples, int64 `[n]`.
    """

    def __init__(self, split: Split, indices: np.ndarray):
        super().__init__(len(indices), split.shape, split.dtype)
        self.factor_names = split.factor_names
        self._split = split
        self._indices = indices

    def factors(self, indices: np.ndarray) -> np.ndarray | None:
        return self._split.factors(self._indices[indices])

    def content_digest(self) -> str:
        whole = self._split.content_digest()
        return hashlib.sha256(whole.encode() + self._indices.tobytes()).hexdigest() if whole else ""

    def examples(self, indices: tf.Tensor) -> tf.Tensor:
        return self._split.examples(tf.gather(tf.constant(self._indices), indices))
