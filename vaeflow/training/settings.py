"""Checks and makes what a gin file gives to a command."""

import contextlib

import keras
import tensorflow as tf

from vaeflow import validation
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


def check_training(
    dataset,
    num_steps,
    batch_size,
    seed,
    steps_per_loop,
    precision,
    gradient_clip_norm,
    ema_decay,
    **others,
):
    """Checks the settings of `train` that need no device; what it does not know passes.

    Raises:
      ConfigurationError: one of them is wrong.
      ValueError: likewise.
    """
    check_dataset(dataset)
    validation.positive_integer("train.num_steps", num_steps)
    validation.positive_integer("train.batch_size", batch_size)
    if validation.non_negative_integer("train.seed", seed) >= 2**32:
        raise ConfigurationError(f"`train.seed` must be below 2**32, got {seed}")
    validation.positive_integer("train.steps_per_loop", steps_per_loop)
    validation.one_of("train.precision", precision, PRECISIONS)
    if gradient_clip_norm is not None:
        validation.positive_number("train.gradient_clip_norm", gradient_clip_norm)
    if ema_decay is not None:
        validation.fraction("train.ema_decay", ema_decay)


def make_all(seed, precision, strategy, model, optimizer):
    """Makes what a training needs on its devices, from the factories of `train`.

    Args:
      seed: of Keras, for the initial weights.
      precision: one of `PRECISIONS`.
      strategy, model, optimizer: callable without arguments.

    Returns:
      The strategy, and the model and the optimizer, made in its scope.

    Raises:
      ConfigurationError: one is not a factory, or makes something else.
    """
    keras.utils.set_random_seed(seed)
    _set_precision(precision)
    made = make("train.strategy", strategy, tf.distribute.Strategy)
    with made.scope():
        return (
            made,
            make("train.model", model, keras.Model),
            make("train.optimizer", optimizer, keras.optimizers.Optimizer),
        )


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
