"""Batches of examples as they are stored: on the devices, out of the input pipeline, or blank."""

from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf

from vaeflow.datasets.base import Split
from vaeflow.devices import tracing


def place_on_devices(split: Split, strategy: tf.distribute.Strategy, reads: Sequence[str] = ()) -> Any:
    """Copies a split that has its array to each replica's device once: name -> per-replica tensors."""
    arrays: dict[str, Any] = {"images": split.array}
    if "labels" in reads:
        arrays["labels"] = split.labels(tf.range(split.num_examples, dtype=tf.int64))
    tensors = {name: tf.convert_to_tensor(array) for name, array in arrays.items()}

    @tf.function(autograph=False)
    def copy():
        return strategy.run(lambda values: tf.nest.map_structure(tf.identity, values), (tensors,))

    return tracing.call_own(copy)


class ResidentBatch:
    """A batch of arrays on the device. A part of it copies only its own examples.

    Args:
      arrays: name -> `[N, …]`.
      indices: the indices of the batch, `[b]`.
    """

    def __init__(self, arrays: Mapping[str, Any], indices: Any):
        self._arrays = arrays
        self._indices = indices
        self.num_examples = indices.shape[0]

    def part(self, first: int, last: int) -> dict[str, tf.Tensor]:
        """Returns the examples from `first` to before `last`, name -> `[b, …]`."""
        chosen = self._indices[first:last]
        return {name: tf.gather(array, chosen) for name, array in self._arrays.items()}


class StoredBatch:
    """A batch as it came from the input pipeline; see `ResidentBatch`.

    Args:
      values: name -> `[b, …]`.
    """

    def __init__(self, values: Mapping[str, Any]):
        self._values = values
        self.num_examples = values["images"].shape[0]

    def part(self, first: int, last: int) -> dict[str, tf.Tensor]:
        """Returns the examples from `first` to before `last`, name -> `[b, …]`."""
        return {name: tf.identity(value[first:last]) for name, value in self._values.items()}


def stored_batch(
    split: Split, indices: tf.Tensor, reads: Sequence[str] = (), images: tf.Tensor | None = None
) -> dict[str, tf.Tensor]:
    """Reads the examples at `indices` `[b]` as they are stored, with fully known shapes.

    Args:
      split: the split to read.
      indices: int64 `[b]`.
      reads: what the batch holds besides images.
      images: those images, where they are read already.
    """
    size = indices.shape[0]
    images = split.examples(indices) if images is None else images
    batch = {"images": tf.ensure_shape(images, (size, *split.stored_shape))}
    if "labels" in reads:
        batch["labels"] = tf.ensure_shape(split.labels(indices), (size, len(split.factor_names)))
    return batch


def blank_batch(split: Split, num_examples: int, reads: Sequence[str] = ()) -> dict[str, tf.Tensor]:
    """Returns a batch of black images with labels 0, as it would be stored."""
    batch = {"images": tf.zeros((num_examples, *split.stored_shape), split.dtype)}
    if "labels" in reads:
        batch["labels"] = tf.zeros((num_examples, len(split.factor_names)), tf.int64)
    return batch
