"""Batches: what a model is given of some examples, name -> tensor."""

from collections.abc import Mapping
from typing import Any

import tensorflow as tf

from vaeflow.errors import ConfigurationError, user_code

# `images`, `[b, H, W, C]`, floats in [0, 1]; and `labels`, int64 `[b, F]`, the factors of each
# example, for a model that reads them.
Batch = dict[str, tf.Tensor]

# What a model may name in `Model.reads`.
READABLE = ("labels",)


def as_batch(inputs: Any, labels: Any = None) -> Batch:
    """Makes a batch of what a caller gives: one already, or images.

    Args:
      inputs: a batch, or images `[b, H, W, C]`.
      labels: integers `[b, F]`, or `[b]` where there is one factor; None if the batch has
        them, or there are none.
    """
    batch: dict[str, Any] = dict(inputs) if isinstance(inputs, Mapping) else {"images": inputs}
    if labels is not None:
        batch["labels"] = labels
    if batch.get("labels") is not None:
        given = tf.cast(batch["labels"], tf.int64)
        batch["labels"] = given[:, None] if given.shape.rank == 1 else given
    return batch


def checked_for(model: Any, batch: Batch) -> Batch:
    """Returns the part of a batch that a model reads.

    Raises:
      ConfigurationError: it reads what the batch has not, or the labels are none that it knows.
    """
    for name in model.reads:
        if batch.get(name) is None:
            raise ConfigurationError(
                f"{type(model).__name__} reads {name!r} of each image, and none were given: hand them over, "
                f"as in encode(images, {name}), with integers of shape [b, F] for F factors"
            )
    if "labels" in model.reads:
        _check_labels(model, batch["labels"], batch.get("images"))
    return {name: value for name, value in batch.items() if name == "images" or name in model.reads}


def check_num_labels(labels: Any, num_rows: Any) -> None:
    """Raises `ConfigurationError` unless there are labels for each row, where both numbers are known."""
    if labels is not None and isinstance(num_rows, int) and labels.shape[0] not in (None, num_rows):
        raise ConfigurationError(
            f"got labels of {labels.shape[0]} examples, expected those of {num_rows}; give each its own"
        )


def _check_labels(model, labels, images):
    """Raises `ConfigurationError` for labels that the model was not made for; a graph knows only shapes."""
    sizes = model.label_sizes
    if labels.shape.rank != 2 or labels.shape[1] not in (None, len(sizes)):
        raise ConfigurationError(
            f"{type(model).__name__} reads integers of the shape [b, {len(sizes)}] as labels, got the shape "
            f"{tuple(labels.shape)}; give each example one for each factor"
        )
    check_num_labels(labels, None if images is None else images.shape[0])
    if tf.executing_eagerly():
        given = labels.numpy()
        unknown = given[((given < 0) | (given >= sizes)).any(axis=1)]
        if len(unknown):
            known = " and ".join(f"0 to {size - 1}" for size in sizes)
            raise ConfigurationError(
                f"{type(model).__name__} was made for labels from {known}, got {unknown[0].tolist()}"
            )


def repeated(values: Any, num_samples: int) -> Any:
    """Repeats each row of a nest of tensors `[b, …]`: the rows of an example follow each other."""
    if num_samples == 1:
        return values
    return tf.nest.map_structure(lambda value: tf.repeat(value, num_samples, axis=0), values)


def check_reads(model: Any) -> None:
    """Raises `ConfigurationError` unless `Model.reads` names what a batch can hold."""
    if not isinstance(model.reads, tuple) or not set(model.reads) <= set(READABLE):
        raise user_code.wrong(
            model, "reads", f"must be a tuple of names among {', '.join(READABLE)}, it is {model.reads!r}"
        )
    if "labels" in model.reads and not model.label_sizes:
        raise user_code.wrong(model, "label_sizes", "must say how many values each label has, it is empty")
