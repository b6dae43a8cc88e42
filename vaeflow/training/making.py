"""Makes the strategy, the model and the optimizer of a training from what a gin file names."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import keras
import tensorflow as tf

from vaeflow import schedules, validation
from vaeflow.datasets import Dataset
from vaeflow.errors import ConfigurationError
from vaeflow.models.base import Model
from vaeflow.training.settings import RunSettings, TrainingSettings, taken_from

PRECISIONS = ("float32", "mixed_bfloat16", "float64")


def checked(values: dict[str, Any]) -> tuple[RunSettings, TrainingSettings]:
    """Checks the values of `train` that need no device, and makes settings of them.

    Args:
      values: what gin gave to `train`, name -> value, or more.

    Raises:
      ConfigurationError: one of them is wrong or missing.
      ValueError: likewise.
    """
    check_dataset(values["dataset"])
    validation.one_of("train.precision", values["precision"], PRECISIONS)
    return taken_from(RunSettings, values), taken_from(TrainingSettings, values)


def check_dataset(dataset: Any) -> None:
    """Raises `ConfigurationError` unless `train.dataset` is a `Dataset`."""
    if not isinstance(dataset, Dataset):
        raise ConfigurationError(
            f"`train.dataset` must be a Dataset, got {dataset!r}; in a gin file write "
            "train.dataset = @Name() with parentheses"
        )


def make_all(
    seed: int, precision: str, strategy: Callable, model: Callable, optimizer: Callable
) -> tuple[tf.distribute.Strategy, Model, keras.optimizers.Optimizer]:
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
    check_factories(strategy, model, optimizer)
    made = make("train.strategy", strategy, tf.distribute.Strategy)
    with made.scope():
        return (
            made,
            make("train.model", model, Model),
            make("train.optimizer", optimizer, keras.optimizers.Optimizer),
        )


def check_factories(strategy: Any, model: Any, optimizer: Any) -> None:
    """Raises `ConfigurationError` unless each can be called; nothing is made."""
    check_factory("train.strategy", strategy, tf.distribute.Strategy)
    check_factory("train.model", model, keras.Model)
    check_factory("train.optimizer", optimizer, keras.optimizers.Optimizer)


def follow_run(model: Model, optimizer: keras.optimizers.Optimizer | None, num_steps: int | None) -> None:
    """Gives the length of the run to the schedules of its model and optimizers that have none of their own.

    Args:
      model: built or not.
      optimizer: of the model's own group; None for a model that is not trained.
      num_steps: the number of steps of the run; None if only the data will say.
    """
    layers = model.all_layers()
    values = [value for layer in layers for value in vars(layer).values()]
    optimizers = [each for each in [optimizer, *values] if isinstance(each, keras.optimizers.Optimizer)]
    schedules.follow_run([*layers, *optimizers], num_steps)


@contextlib.contextmanager
def precision(name: str) -> Iterator[None]:
    """Sets the precision, one of `PRECISIONS`, of everything that is made inside."""
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


def check_factory(name: str, factory: Any, expected: type) -> None:
    """Raises `ConfigurationError` unless `factory`, of the setting `name`, can be called; see `make`."""
    if not callable(factory) or isinstance(factory, expected):
        raise ConfigurationError(
            f"`{name}` must be a class or function, which is called when the devices are ready, got "
            f"{factory!r}; in a gin file write {name} = @Name without parentheses"
        )


def make(name: str, factory: Any, expected: type) -> Any:
    """Calls a factory such as `@BetaVAE`.

    Args:
      name: of the setting, e.g. `train.model`.
      factory: a class or function, callable without arguments.
      expected: the class that it must make.

    Returns:
      The object that it made.

    Raises:
      ConfigurationError: it is not a factory, or makes something else.
    """
    check_factory(name, factory, expected)
    made = factory()
    if not isinstance(made, expected):
        raise ConfigurationError(f"`{name}` must make a {expected.__name__}, it made {made!r}")
    return made
