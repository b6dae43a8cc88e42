"""A split that is made from another, and keeps its labels."""

import functools

import numpy as np
import tensorflow as tf

from vaeflow.datasets.base import Split


class DerivedSplit(Split):
    """The examples of another split, with other images or read in another way.

    Args:
      source: the other `Split`.
      dtype: of the images; None for the source's own.
      num_examples: their number; None for the source's own.
    """

    def __init__(self, source: Split, dtype: str | None = None, num_examples: int | None = None):
        count = source.num_examples if num_examples is None else num_examples
        super().__init__(count, source.shape, dtype or source.dtype, source.content)
        self.code_sizes = source.code_sizes
        self.factor_names = source.factor_names
        self.crop = source.crop
        self._source = source

    @functools.cached_property
    def factor_sizes(self) -> tuple[int, ...]:
        return self._source.factor_sizes

    def crops(self, indices: tf.Tensor, draws: tf.Tensor) -> tf.Tensor:
        return self._source.crops(indices, draws)

    def factors(self, indices: np.ndarray) -> np.ndarray | None:
        return self._source.factors(indices)

    def labels(self, indices: tf.Tensor) -> tf.Tensor:
        return self._source.labels(indices)

    def describe(self, index: int) -> str:
        return self._source.describe(index)

    def content_digest(self) -> str:
        return self._source.content_digest()
