"""Batches of any dataset: shuffled, and split among the replicas."""

import contextlib
import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow as tf

from vaeflow import random
from vaeflow.datasets.base import VALIDATION, Dataset, Split, validation_part
from vaeflow.datasets.binarization import binarize_split
from vaeflow.datasets.checks import load_split
from vaeflow.datasets.order import ExampleOrder
from vaeflow.datasets.parts import part_of
from vaeflow.devices import replicas
from vaeflow.errors import ConfigurationError, DataError

_INDEX_ROWS = 64  # The number of batches whose indices go from Python to tf.data at once.


def read_split(dataset: Dataset, name: str) -> Split:
    """Reads a split of a dataset, and binarizes it if the binarization is static.

    Args:
      dataset: the dataset to read.
      name: `"train"`, `"evaluation"`, or if the dataset has one, `"validation"`.

    Returns:
      A `Split`.

    Raises:
      ConfigurationError: the dataset has no validation split, or it would be empty.
      DataError: the data is missing or unreadable.
    """
    if name == VALIDATION and not has_validation(dataset):
        own = type(dataset).__name__
        raise ConfigurationError(f"{own} has no validation split; set `{own}.validation_fraction`")
    stored = "train" if name == VALIDATION and not dataset.has_own_validation else name
    split = load_split(dataset, stored)
    if dataset.binarization == "static":
        split = binarize_split(split, stored)
    if dataset.validation_fraction and stored == "train":
        setting = f"{type(dataset).__name__}.validation_fraction"
        split = part_of(
            split, validation_part(name, split.num_examples, dataset.validation_fraction, setting)
        )
    split.binarization = dataset.binarization
    return split


def has_validation(dataset: Dataset) -> bool:
    """Whether a dataset has a validation split: its own, or a part of its training images.

    Raises:
      ConfigurationError: it would have both.
    """
    if dataset.has_own_validation and dataset.validation_fraction:
        own = type(dataset).__name__
        raise ConfigurationError(
            f"`{own}.validation_fraction` must be 0, since this data has a validation split of its own; got "
            f"{dataset.validation_fraction}"
        )
    return dataset.has_own_validation or dataset.validation_fraction > 0


@contextlib.contextmanager
def keyed_floats(
    split: Split,
    images: Any,
    dtype: str,
    seed: int,
    stream: str,
    step: int | tf.Tensor,
    first_position: int | tf.Tensor,
) -> Iterator[tf.Tensor]:
    """Yields images of a split as a model's input, and keys the noise that is drawn inside.

    Every pass of a model over examples starts here, in training and in evaluation. The
    noise of an example depends only on these arguments and on its position.

    Args:
      split: the split of the images.
      images: `[b, H, W, C]`, as stored.
      dtype: the dtype of the result, float32 or float64.
      seed: the seed of the run.
      stream: the name of this use of the seed; see `random.keyed`.
      step: an int or scalar tensor.
      first_position: the position of the first image in the global batch, or in the split.

    Yields:
      `[b, H, W, C]`, `dtype`, in [0, 1].
    """
    with random.keyed(seed, stream, step, first_position):
        yield split.to_floats(images, dtype)


def training_batches(
    split: Split, order: ExampleOrder, strategy: tf.distribute.Strategy, first_step: int
) -> Iterator[Any]:
    """Streams the training batches from `first_step` on, without end.

    Args:
      split: the split to read.
      order: the order of its examples.
      strategy: the strategy of the run. Each of its replicas gets its part of a batch, in
        the order of the replicas.
      first_step: the step of the first batch.

    Returns:
      An iterator over per-replica images `[b, H, W, C]` as they are stored.
    """
    num_replicas = strategy.num_replicas_in_sync

    def make(context):
        def rows():
            step = first_step
            while True:
                batches = [order.batch(s) for s in range(step, step + _INDEX_ROWS)]
                yield _rows_of_worker(np.concatenate(batches), num_replicas, order.batch_size, context)
                step += _INDEX_ROWS

        signature = tf.TensorSpec((None, order.batch_size // num_replicas), tf.int64)
        indices = tf.data.Dataset.from_generator(rows, output_signature=signature).unbatch()
        images = indices.map(lambda part: _examples(split, part), tf.data.AUTOTUNE, deterministic=True)
        # If the stream might end, workers synchronize before each batch and lose its static size.
        endless = images.apply(tf.data.experimental.assert_cardinality(tf.data.INFINITE_CARDINALITY))
        return endless.prefetch(tf.data.AUTOTUNE)

    return iter(strategy.distribute_datasets_from_function(make))


def evaluation_batches(
    split: Split, batch_size: int, strategy: tf.distribute.Strategy, indices: np.ndarray | None = None
) -> Any:
    """Reads each example of a split, or of a part of it, once and in order.

    The last batch is filled up with example 0 at weight 0.

    Args:
      split: the split to read.
      batch_size: the global batch size.
      strategy: as for `training_batches`.
      indices: the examples to read, int64 `[n]`; None reads all.

    Returns:
      A distributed dataset of per-replica (images `[b, H, W, C]`, weights `[b]` of 0
      or 1).
    """
    indices = np.arange(split.num_examples) if indices is None else indices
    num_batches = -(-len(indices) // batch_size)
    padded = np.zeros(num_batches * batch_size, np.int64)
    padded[: len(indices)] = indices
    weights = (np.arange(len(padded)) < len(indices)).astype("float32")
    num_replicas = strategy.num_replicas_in_sync

    def make(context):
        rows = [_rows_of_worker(each, num_replicas, batch_size, context) for each in (padded, weights)]
        parts = tf.data.Dataset.from_tensor_slices(tuple(rows))
        batches = parts.map(
            lambda part, weight: (_examples(split, part), weight), tf.data.AUTOTUNE, deterministic=True
        )
        return batches.prefetch(tf.data.AUTOTUNE)

    return strategy.distribute_datasets_from_function(make)


def _rows_of_worker(
    values: np.ndarray, num_replicas: int, batch_size: int, context: tf.distribute.InputContext
) -> np.ndarray:
    """Cuts consecutive batches into rows `[rows, b]`, one for each replica of this worker in turn."""
    rows = values.reshape(-1, num_replicas, batch_size // num_replicas)
    share = num_replicas // context.num_input_pipelines
    first = context.input_pipeline_id * share
    return rows[:, first : first + share].reshape(-1, rows.shape[2])


@contextlib.contextmanager
def readable_errors() -> Iterator[None]:
    """Re-raises a `DataError` that TensorFlow wrapped on its way out of `tf.data`."""
    try:
        yield
    except tf.errors.OpError as error:
        wrapped = re.search(r"DataError: ([^\n]*)", error.message)
        if wrapped is None:
            raise
        raise DataError(wrapped[1]) from None


def place_on_devices(array: np.ndarray, strategy: tf.distribute.Strategy) -> Any:
    """Copies an array to each replica's device once, and returns the per-replica tensors."""
    tensor = tf.convert_to_tensor(array)

    @tf.function(autograph=False)
    def copy():
        return strategy.run(tf.identity, (tensor,))

    return copy()


def own_part(values: Any) -> tf.Tensor:
    """Takes this replica's part of `[B]`, in the order of the replicas. Call it inside a replica."""
    share = values.shape[0] // replicas.num_replicas()
    first = replicas.replica_index() * share
    return values[first : first + share]


class ResidentBatch:
    """A batch of an array on the device. A slice of it copies only its own images.

    Args:
      array: `[N, H, W, C]`.
      indices: the indices of the batch, `[b]`.
    """

    def __init__(self, array: Any, indices: Any):
        self._array = array
        self._indices = indices
        self.shape = tf.TensorShape([indices.shape[0], *array.shape[1:]])

    def __getitem__(self, part: slice) -> tf.Tensor:
        return tf.gather(self._array, self._indices[part])


def _examples(split: Split, indices: tf.Tensor) -> tf.Tensor:
    """Returns the images at `indices` `[b]` with a fully known shape."""
    return tf.ensure_shape(split.examples(indices), (indices.shape[0], *split.shape))
