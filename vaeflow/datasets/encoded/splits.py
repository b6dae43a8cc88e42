"""A split of codes or latents, held in memory or read from its shards on demand."""

import functools
import math
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from vaeflow.datasets import array_files
from vaeflow.datasets.base import Split
from vaeflow.datasets.encoded.manifest import Manifest
from vaeflow.datasets.encoded.shards import Shards
from vaeflow.errors import DataError


class EncodedSplit(Split):
    """Codes or latents of a split, in the order of the examples that they were made of.

    Args:
      manifest: the `Manifest` of the folder.
      name: of the split.
      group: of the codes or latents.
      role: which of its arrays.
      transform: makes what a model sees of values as they are stored, `[n, …]` of one dtype.
      in_memory: whether all are read at once and held.
      verify: whether the digest of each file is compared with the manifest first.

    Raises:
      DataError: a shard is missing, damaged, or of another encoding.
    """

    def __init__(
        self,
        manifest: Manifest,
        name: str,
        group: str,
        role: str,
        transform: Callable[[np.ndarray], np.ndarray],
        in_memory: bool,
        verify: bool,
    ):
        of_group = manifest.groups[group]
        shape = of_group.arrays[role]
        if len(shape) > 3:
            raise DataError(f"{manifest.folder}: {group} has the shape {shape}; expected a map or a vector")
        self._shards = Shards(manifest, name)
        self._array_name = manifest.array_name(group, role)
        dtype = manifest.specs[self._array_name].dtype
        # A vector is a map of one place.
        shape = (1,) * (3 - len(shape)) + shape
        super().__init__(self._shards.num_examples, shape, dtype, of_group.content)
        self.code_sizes = of_group.code_sizes
        self.factor_names = manifest.label_names
        self._label_sizes = manifest.label_sizes
        self._transform = transform
        self._labels: np.ndarray | None = None
        if verify:
            self._shards.verify()
        if in_memory:
            self._read_all()

    @functools.cached_property
    def factor_sizes(self) -> tuple[int, ...]:
        return self._label_sizes

    def examples(self, indices: tf.Tensor) -> tf.Tensor:
        def read(chosen):
            return self.array[chosen] if self.array is not None else self._read(chosen)

        return tf.ensure_shape(
            tf.numpy_function(read, [indices], self.dtype, stateful=False), (None, *self.shape)
        )

    def factors(self, indices: np.ndarray) -> np.ndarray | None:
        if not self.factor_names:
            return None
        if self._labels is not None:
            return self._labels[indices]
        return self._shards.read(indices, ("labels",))["labels"]

    def content_digest(self) -> str:
        return self._shards.content_digest()

    def describe(self, index: int) -> str:
        return self._shards.describe(index)

    def _read(self, indices: np.ndarray) -> np.ndarray:
        values = self._shards.read(indices, (self._array_name,))[self._array_name]
        return self._seen(values, lambda row: int(indices[row]))

    def _read_all(self) -> None:
        """Reads all values and labels into memory."""
        per_example = math.prod(self.shape) * 4 + 8 * len(self.factor_names)
        array_files.check_memory(
            self.num_examples * per_example,
            self.describe(0).partition(", record")[0],
            f"set `{self.content.capitalize()}.in_memory` to False",
        )
        array = np.empty((self.num_examples, *self.shape), self.dtype)
        labels = np.empty((self.num_examples, len(self.factor_names)), np.int64)
        names = (self._array_name, *(("labels",) if self.factor_names else ()))
        for first, arrays in self._shards.chunks(names):
            values = arrays[self._array_name]
            array[first : first + len(values)] = self._seen(values, functools.partial(int.__add__, first))
            if self.factor_names:
                labels[first : first + len(values)] = arrays["labels"]
        self.array = array
        self._labels = labels

    def _seen(self, values: np.ndarray, index_of: Callable[[int], int]) -> np.ndarray:
        """Returns values as a model sees them, once they are checked."""
        is_wrong = (
            (values < 0) | (values >= self.code_sizes) if self.content == "codes" else ~np.isfinite(values)
        )
        if is_wrong.any():
            row = int(np.argwhere(is_wrong)[0, 0])
            expected = f"codes below {self.code_sizes}" if self.content == "codes" else "finite numbers"
            raise DataError(
                f"{self.describe(index_of(row))} holds {values[is_wrong][0]}; expected {expected}; encode "
                "the data again"
            )
        return self._transform(values).astype(self.dtype).reshape(-1, *self.shape)
