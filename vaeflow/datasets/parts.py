"""A part of a split."""

import hashlib
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from vaeflow.datasets.base import Split
from vaeflow.datasets.derived import DerivedSplit
from vaeflow.datasets.in_memory import with_factors_of


def part_of(split: Split, indices: np.ndarray) -> Split:
    """Returns the examples of a split at `indices`, int64 `[n]`; held in memory if the split is."""
    if split.array is None or split.content != "images":
        return PartSplit(split, indices)
    return with_factors_of(split, split.array[indices], indices)


class PartSplit(DerivedSplit):
    """Some examples of another split, read on demand; of codes or latents in memory a copy.

    Args:
      split: the `Split`.
      indices: the numbers of the examples, int64 `[n]`.
    """

    def __init__(self, split: Split, indices: np.ndarray):
        super().__init__(split, num_examples=len(indices))
        self._indices = indices
        self.array = None if split.array is None else split.array[indices]

    def factors(self, indices: np.ndarray) -> np.ndarray | None:
        return self._source.factors(self._indices[indices])

    def labels(self, indices: tf.Tensor) -> tf.Tensor:
        return self._source.labels(self._in_source(indices))

    def describe(self, index: int) -> str:
        return self._source.describe(int(self._indices[index]))

    def content_digest(self) -> str:
        whole = self._source.content_digest()
        return hashlib.sha256(whole.encode() + self._indices.tobytes()).hexdigest() if whole else ""

    def examples(self, indices: tf.Tensor) -> tf.Tensor:
        return self._source.examples(self._in_source(indices))

    def crops(self, indices: tf.Tensor, draws: tf.Tensor) -> tf.Tensor:
        return self._source.crops(self._in_source(indices), draws)

    @property
    def stored_shape(self) -> tuple[int, ...]:
        return self._source.stored_shape

    def to_floats(
        self,
        images: Any,
        dtype: str | tf.DType,
        augment: Callable[[tf.Tensor], tf.Tensor] | None = None,
    ) -> tf.Tensor:
        # A part has its own binarization, and latents the draws of the whole.
        if self.content == "images":
            return super().to_floats(images, dtype, augment)
        return self._source.to_floats(images, dtype, augment)

    def _in_source(self, indices: tf.Tensor) -> tf.Tensor:
        return tf.gather(tf.constant(self._indices), indices)
