"""Batches of any dataset: shuffled, and split among the replicas."""

import contextlib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from vaeflow import random
from vaeflow.datasets.augmentations import crop_of
from vaeflow.datasets.augmented import AugmentedSplit, center_cropped
from vaeflow.datasets.base import GRID, VALIDATION, Dataset, Split
from vaeflow.datasets.binarization import binarize_split
from vaeflow.datasets.checks import load_grid, load_split
from vaeflow.datasets.held_out import validation_part
from vaeflow.datasets.order import ExampleOrder
from vaeflow.datasets.partly_labelled import PartlyLabelledSplit
from vaeflow.datasets.parts import part_of
from vaeflow.datasets.stored_batches import stored_batch
from vaeflow.errors import ConfigurationError, DataError
from vaeflow.runs import ending

_INDEX_ROWS = 64  # The number of batches whose indices go from Python to tf.data at once.


def read_split(dataset: Dataset, name: str, augmented: bool = False) -> Split:
    """Reads a split of a dataset, and binarizes it if the binarization is static.

    Args:
      dataset: the dataset to read.
      name: `"train"`, `"evaluation"`, or if the dataset has one, `"validation"`.
      augmented: True for the images and labels that training steps see. False gives the middle of them if
        the dataset crops its training images, and all labels.

    Returns:
      A `Split`.

    Raises:
      ConfigurationError: the dataset has no validation split, or it would be empty, or the images
        cannot be augmented.
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
    if augmented and dataset.num_labelled is not None:
        split = PartlyLabelledSplit(split, dataset.num_labelled, f"{type(dataset).__name__}.num_labelled")
    split = dataset.for_training(split) if augmented else split
    if augmented and dataset.augmentations:
        return AugmentedSplit(split, dataset.augmentations)
    return center_cropped(split, crop_of(dataset.augmentations))


def read_grid(dataset: Dataset) -> Split | None:
    """Reads the images of all combinations of a dataset's factors, as `read_split` reads a split.

    Returns:
      A `Split`; None if the dataset has no such images.

    Raises:
      DataError: the data is missing or unreadable.
    """
    split = load_grid(dataset)
    if split is None:
        return None
    if dataset.binarization == "static":
        split = binarize_split(split, GRID)
    split.binarization = dataset.binarization
    return center_cropped(split, crop_of(dataset.augmentations))


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
def keyed_batch(
    split: Split,
    stored: Mapping[str, Any],
    dtype: str,
    seed: int,
    stream: str,
    step: int | tf.Tensor,
    first_position: int | tf.Tensor,
    batch_size: int | None = None,
) -> Iterator[dict[str, tf.Tensor]]:
    """Yields a batch of a split as a model takes it, and keys the noise that is drawn inside.

    Every pass of a model over examples starts here, in training and in evaluation. The
    noise of an example depends only on these arguments and on its position.

    Args:
      split: the split of the images.
      stored: name -> `[b, …]`, with images as they are stored.
      dtype: the dtype of the images, float32 or float64.
      seed: the seed of the run.
      stream: the name of this use of the seed; see `random.keyed`.
      step: an int or scalar tensor.
      first_position: the position of the first example in the global batch, or in the split.
      batch_size: of a training, whose images are augmented; None elsewhere: the batch is the whole.

    Yields:
      The batch, its images `[b, H, W, C]`, `dtype`, in [0, 1]; see `Split.to_floats`.
    """
    with random.keyed(seed, stream, step, first_position, batch_size):
        if batch_size is not None and isinstance(split, AugmentedSplit):
            first_use = tf.cast(step, tf.int64) * batch_size + tf.cast(first_position, tf.int64)
            images = split.training_floats(stored["images"], dtype, seed, first_use)
        else:
            images = split.to_floats(stored["images"], dtype)
        yield {**stored, "images": images}


def training_batches(
    split: Split,
    order: ExampleOrder,
    strategy: tf.distribute.Strategy,
    first_step: int,
    reads: Sequence[str] = (),
) -> Iterator[Any]:
    """Streams the training batches from `first_step` on, without end.

    Args:
      split: the split to read.
      order: the order of its examples.
      strategy: the strategy of the run. Each of its replicas gets its part of a batch, in
        the order of the replicas.
      first_step: the step of the first batch.
      reads: what a batch holds besides images; see `Model.reads`.

    Returns:
      An iterator over per-replica batches, name -> `[b, …]`, with images as they are stored.
    """
    num_replicas = strategy.num_replicas_in_sync

    def make(context):
        def rows():
            step = first_step
            while True:
                batches = [order.batch(s) for s in range(step, step + _INDEX_ROWS)]
                uses = np.arange(step * order.batch_size, (step + _INDEX_ROWS) * order.batch_size)
                yield tuple(
                    _rows_of_worker(each, num_replicas, order.batch_size, context)
                    for each in (np.concatenate(batches), uses)
                )
                step += _INDEX_ROWS

        # AutoGraph would write it to a file first, and warn where the disk is full.
        @tf.autograph.experimental.do_not_convert
        def read(part, uses):
            images = None
            if isinstance(split, AugmentedSplit):
                images = split.training_examples(part, order.seed, uses[0])
            return stored_batch(split, part, reads, images)

        row = tf.TensorSpec((None, order.batch_size // num_replicas), tf.int64)
        indices = tf.data.Dataset.from_generator(rows, output_signature=(row, row)).unbatch()
        batches = indices.map(read, tf.data.AUTOTUNE, deterministic=True)
        # If the stream might end, workers synchronize before each batch and lose its static size.
        endless = batches.apply(tf.data.experimental.assert_cardinality(tf.data.INFINITE_CARDINALITY))
        return endless.prefetch(tf.data.AUTOTUNE)

    return iter(_distributed(strategy, make))


def evaluation_batches(
    split: Split,
    batch_size: int,
    strategy: tf.distribute.Strategy,
    indices: np.ndarray | None = None,
    reads: Sequence[str] = (),
) -> Any:
    """Reads each example of a split, or of a part of it, once and in order.

    The last batch is filled up with example 0 at weight 0.

    Args:
      split: the split to read.
      batch_size: the global batch size.
      strategy: as for `training_batches`.
      indices: the examples to read, int64 `[n]`; None reads all. At -1 example 0 is read, at
        weight 0.
      reads: as for `training_batches`.

    Returns:
      A distributed dataset of per-replica (batch, weights `[b]` of 0 or 1).
    """
    indices = np.arange(split.num_examples) if indices is None else indices
    num_batches = -(-len(indices) // batch_size)
    padded = np.full(num_batches * batch_size, -1)
    padded[: len(indices)] = indices
    weights = (padded >= 0).astype("float32")
    padded = np.maximum(padded, 0)
    num_replicas = strategy.num_replicas_in_sync

    def make(context):
        @tf.autograph.experimental.do_not_convert  # As in training.
        def read(part, weight):
            return stored_batch(split, part, reads), weight

        rows = [_rows_of_worker(each, num_replicas, batch_size, context) for each in (padded, weights)]
        parts = tf.data.Dataset.from_tensor_slices(tuple(rows))
        return parts.map(read, tf.data.AUTOTUNE, deterministic=True).prefetch(tf.data.AUTOTUNE)

    return _distributed(strategy, make)


def _distributed(
    strategy: tf.distribute.Strategy, make: Callable[[tf.distribute.InputContext], tf.data.Dataset]
) -> Any:
    ending.collect_before_exit()
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
