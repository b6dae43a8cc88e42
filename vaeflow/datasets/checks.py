"""Checks what a dataset of the user's returns, before anything is trained on it."""

from typing import Any

import numpy as np
import tensorflow as tf

from vaeflow.datasets.base import Dataset, Split, check_range
from vaeflow.errors import DataError, user_code

_NUM_TRIED = 3


def load_split(dataset: Dataset, name: str) -> Split:
    """Calls `Dataset.load`, and checks what it returns.

    Raises:
      DataError: it fails, or returns something else than it should.
    """
    with user_code.running(dataset, "load", DataError):
        split = dataset.load(name)
    if not isinstance(split, Split):
        given = user_code.described(split)
        raise _wrong(
            dataset, "load", f"must return a Split, such as InMemorySplit(images), it returned {given}"
        )
    check_examples(split)
    return split


def check_examples(split: Split) -> None:
    """Reads a few images of a split of the user's own class, as training does: inside `tf.data`.

    Raises:
      DataError: it fails, or the images have another shape, dtype or range than it says.
    """
    if split.array is not None or not user_code.is_users(split):
        return
    count = min(_NUM_TRIED, split.num_examples)
    with user_code.running(split, "examples", DataError):
        indices = tf.data.Dataset.from_tensors(tf.range(count, dtype=tf.int64))
        images: Any = next(iter(indices.map(split.examples)))
    expected = (count, *split.shape)
    if not isinstance(images, tf.Tensor) or images.shape != expected or images.dtype != split.dtype:
        given = user_code.described(images)
        announced = f"a tensor of the shape {expected} and {split.dtype}, as its constructor says"
        raise _wrong(split, "examples", f"must return {announced}, for {count} indices; it returned {given}")
    try:
        check_range(np.asarray(images), "images")
    except DataError as error:
        raise _wrong(split, "examples", f"returns wrong pixels: {error}") from None


def _wrong(owner, doing, problem):
    return user_code.wrong(owner, doing, problem, DataError)
