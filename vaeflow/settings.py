"""Checks and makes what a gin file gives to a command."""

import contextlib

import keras

from vaeflow.datasets import Dataset
from vaeflow.errors import ConfigurationError

PRECISIONS = ("float32", "mixed_bfloat16", "float64")


def check_dataset(dataset):
    """Raises `ConfigurationError` where `train.dataset` is not a `Dataset`."""
    if not isinstance(dataset, Dataset):
        raise ConfigurationError(
            f"`train.dataset` must be a Dataset, got {dataset!r}; in a gin file write "
            "train.dataset = @Name() with parentheses"
        )


def set_up_keras(seed, precision):
    """Seeds Keras and sets the precision of what is made from here on, one of `PRECISIONS`."""
    keras.utils.set_random_seed(seed)
    _set_precision(precision)


@contextlib.contextmanager
def precision(name):
    """Makes what is made inside of a precision, one of `PRECISIONS`."""
    before, floatx = keras.config.dtype_policy(), keras.config.floatx()
    _set_precision(name)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)
        keras.config.set_floatx(floatx)


def _set_precision(name):
    keras.config.set_dtype_policy(name)
    keras.config.set_floatx("float64" if name == "float64" else "float32")


def make(name, factory, expected):
    """Calls a factory such as `@BetaVAE`.

    Args:
      name: of the setting, e.g. `train.model`.
      factory: a class or function, callable without arguments.
      expected: the class of what it must make.

    Returns:
      What it made.

    Raises:
      ConfigurationError: it is not a factory, or makes something else.
    """
    if not callable(factory) or isinstance(factory, expected):
        raise ConfigurationError(
            f"`{name}` must be a class or function, which is called when the devices are ready, got "
            f"{factory!r}; in a gin file write {name} = @Name without parentheses"
        )
    made = factory()
    if not isinstance(made, expected):
        raise ConfigurationError(f"`{name}` must make a {expected.__name__}, it made {made!r}")
    return made
