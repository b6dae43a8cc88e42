"""Checks the pixels that `fit`, `evaluate` and `predict` are given.

It is done before the compiled steps, where XLA would drop a check. The images of the
`Trainer` are checked by their split.
"""

import contextlib
import re
import types
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from vaeflow.errors import ConfigurationError

_MARK = "pixels outside 0 to 1:"
_MARKED = re.compile(re.escape(_MARK) + r"\] \[([^\]]*)\] \[([^\]]*)\]")


class CheckedPixels:
    """A mix-in, before `keras.Model`, whose loops refuse images with pixels outside 0 to 1.

    Arrays are checked at once and whole, of a `PyDataset` the first batch; the batches of a
    `tf.data.Dataset` or a generator when they are read. The error is a `ConfigurationError`. A model
    that takes codes or latents (`Model.takes`) is given any numbers.
    """

    def fit(self, x: Any = None, *args: Any, **kwargs: Any) -> Any:
        """Trains as `keras.Model.fit` does."""
        if (held_out := kwargs.get("validation_data")) is not None:
            is_pair = isinstance(held_out, (tuple, list))
            kwargs["validation_data"] = (
                (self._with_check(held_out[0]), *held_out[1:]) if is_pair else self._with_check(held_out)
            )
        with _readable_errors():
            return super().fit(self._with_check(x), *args, **kwargs)  # pyright: ignore[reportAttributeAccessIssue]

    def evaluate(self, x: Any = None, *args: Any, **kwargs: Any) -> Any:
        """Evaluates as `keras.Model.evaluate` does."""
        with _readable_errors():
            return super().evaluate(self._with_check(x), *args, **kwargs)  # pyright: ignore[reportAttributeAccessIssue]

    def predict(self, x: Any, *args: Any, **kwargs: Any) -> Any:
        """Reconstructs images as `keras.Model.predict` does."""
        with _readable_errors():
            return super().predict(self._with_check(x), *args, **kwargs)  # pyright: ignore[reportAttributeAccessIssue]

    def train_on_batch(self, x: Any, *args: Any, **kwargs: Any) -> Any:
        """Takes one step of `fit`."""
        return super().train_on_batch(self._with_check(x), *args, **kwargs)  # pyright: ignore[reportAttributeAccessIssue]

    def test_on_batch(self, x: Any, *args: Any, **kwargs: Any) -> Any:
        """Takes one step of `evaluate`."""
        return super().test_on_batch(self._with_check(x), *args, **kwargs)  # pyright: ignore[reportAttributeAccessIssue]

    def predict_on_batch(self, x: Any) -> Any:
        """Takes one step of `predict`."""
        return super().predict_on_batch(self._with_check(x))  # pyright: ignore[reportAttributeAccessIssue]

    def _with_check(self, data):
        """Returns the same data, whose pixels are checked if they are those of images."""
        return _checked(data) if self.takes == "images" else data  # pyright: ignore[reportAttributeAccessIssue]


def _checked(data):
    """Returns the same images or source of batches, whose pixels are checked."""
    if isinstance(data, tf.data.Dataset):
        return data.map(_checked_element, tf.data.AUTOTUNE, deterministic=True)
    if isinstance(data, types.GeneratorType):
        return _checked_batches(data)
    if isinstance(data, keras.utils.PyDataset):
        _check(_images(data[0]))
    elif isinstance(data, np.ndarray) or hasattr(data, "numpy"):
        _check(data)
    return data


@contextlib.contextmanager
def _readable_errors():
    """Re-raises what the check inside a `tf.data.Dataset` found, without TensorFlow's additions."""
    try:
        yield
    except tf.errors.InvalidArgumentError as error:
        found = _MARKED.search(error.message)
        if found is None:
            raise
        raise _out_of_range(*found.groups()) from None


def _images(batch):
    return batch[0] if isinstance(batch, (tuple, list)) else batch


def _check(images):
    pixels = np.asarray(images)
    if pixels.size and not (pixels.min() >= 0 and pixels.max() <= 1):  # Not a number is neither.
        raise _out_of_range(pixels.min(), pixels.max())


def _checked_batches(batches):
    for batch in batches:
        _check(_images(batch))
        yield batch


@tf.autograph.experimental.do_not_convert
def _checked_element(*element):
    """Adds the check to an element of a dataset, which runs on the CPU, outside the compiled step."""
    images = tf.convert_to_tensor(element[0])
    lowest, highest = tf.reduce_min(images), tf.reduce_max(images)
    inside = (lowest >= tf.zeros_like(lowest)) & (highest <= tf.ones_like(highest))
    with tf.control_dependencies([tf.debugging.Assert(inside, [_MARK, lowest, highest])]):
        images = tf.identity(images)
    return (images, *element[1:]) if len(element) > 1 else images


def _out_of_range(lowest, highest):
    return ConfigurationError(
        f"the model takes images with pixels in 0 to 1, got pixels from {lowest} to {highest}; divide pixels "
        "of 0 to 255 by 255, and scale those of -1 to 1 as (images + 1) / 2"
    )
