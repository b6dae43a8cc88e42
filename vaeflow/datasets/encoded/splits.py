"""A split of codes or latents, held in memory or read from its shards on demand."""

import functools
import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from vaeflow import random
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
      transforms: the role of an array -> what makes of its values, `[n, …]`, those that a model
        sees. With `mean` and `log_variance` a model sees z ~ q(z|x), drawn anew at each use.
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
        transforms: Mapping[str, Callable[[np.ndarray], np.ndarray]],
        in_memory: bool,
        verify: bool,
    ):
        of_group = manifest.groups[group]
        shape = next(of_group.arrays[role] for role in transforms)
        if len(shape) > 3:
            raise DataError(f"{manifest.folder}: {group} has the shape {shape}; expected a map or a vector")
        self._shards = Shards(manifest, name)
        self._transforms = {manifest.array_name(group, role): each for role, each in transforms.items()}
        dtype = next(manifest.specs[name].dtype for name in self._transforms)
        # A vector is a map of one place.
        shape = (1,) * (3 - len(shape)) + shape
        super().__init__(self._shards.num_examples, shape, dtype, of_group.content)
        self.code_sizes = of_group.code_sizes
        self.factor_names = manifest.label_names
        self._label_sizes = manifest.label_sizes
        self._labels: np.ndarray | None = None
        if verify:
            self._shards.verify()
        if in_memory:
            self._read_all()

    @functools.cached_property
    def factor_sizes(self) -> tuple[int, ...]:
        return self._label_sizes

    @property
    def stored_shape(self) -> tuple[int, ...]:
        """The shape of an example as `examples` gives it: means and logarithms of variances side by side."""
        return (*self.shape[:-1], self.shape[-1] * len(self._transforms))

    def examples(self, indices: tf.Tensor) -> tf.Tensor:
        def read(chosen):
            return self.array[chosen] if self.array is not None else self._read(chosen)

        found = tf.numpy_function(read, [indices], self.dtype, stateful=False)
        return tf.ensure_shape(found, (None, *self.stored_shape))

    def to_floats(
        self,
        images: Any,
        dtype: str | tf.DType,
        augment: Callable[[tf.Tensor], tf.Tensor] | None = None,
    ) -> tf.Tensor:
        floats = super().to_floats(images, dtype, augment)
        if len(self._transforms) == 1:
            return floats
        mean, log_variance = tf.split(floats, 2, axis=-1)
        return mean + tf.exp(0.5 * log_variance) * random.normal((tf.shape(mean)[0], *self.shape), dtype)

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
        arrays = self._shards.read(indices, tuple(self._transforms))
        return self._seen(arrays, lambda row: int(indices[row]))

    def _read_all(self) -> None:
        """Reads all values and labels into memory."""
        per_example = math.prod(self.stored_shape) * 4 + 8 * len(self.factor_names)
        array_files.check_memory(
            self.num_examples * per_example,
            self.describe(0).partition(", record")[0],
            f"set `{self.content.capitalize()}.in_memory` to False",
        )
        array = np.empty((self.num_examples, *self.stored_shape), self.dtype)
        labels = np.empty((self.num_examples, len(self.factor_names)), np.int64)
        names = (*self._transforms, *(("labels",) if self.factor_names else ()))
        for first, arrays in self._shards.chunks(names):
            values = self._seen(arrays, functools.partial(int.__add__, first))
            array[first : first + len(values)] = values
            if self.factor_names:
                labels[first : first + len(values)] = arrays["labels"]
        self.array = array
        self._labels = labels

    def _seen(self, arrays: Mapping[str, np.ndarray], index_of: Callable[[int], int]) -> np.ndarray:
        """Returns values as they are held, `[n, *stored_shape]`, once they are checked."""
        seen = []
        for name, transform in self._transforms.items():
            self._check(arrays[name], index_of)
            with np.errstate(all="ignore"):  # Looked at below.
                values = transform(arrays[name]).astype(self.dtype)
            if not np.isfinite(values).all():
                row = int(np.argwhere(~np.isfinite(values))[0, 0])
                raise DataError(
                    f"{self.describe(index_of(row))} is not finite once it is scaled by the mean and the "
                    "deviation in the manifest; leave `Latents.scaling` out, or encode the data again"
                )
            seen.append(values.reshape(-1, *self.shape))
        return seen[0] if len(seen) == 1 else np.concatenate(seen, axis=-1)

    def _check(self, values: np.ndarray, index_of: Callable[[int], int]) -> None:
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
