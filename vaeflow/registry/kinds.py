"""The kinds of things that a user can plug into a run."""

import functools
import inspect
from typing import Any

from vaeflow.errors import ConfigurationError
from vaeflow.registry.entry import location

# Kind -> the Keras class its members must extend, or None.
KINDS: dict[str, str | None] = {
    "model": "keras.Model",
    "layer": "keras.layers.Layer",
    "likelihood": "keras.layers.Layer",
    "posterior": "keras.layers.Layer",
    "prior": "keras.layers.Layer",
    "dataset": None,
    "source": None,
    "augmentation": None,
    "optimizer": "keras.optimizers.Optimizer",
    "schedule": "keras.optimizers.schedules.LearningRateSchedule",
    "callback": None,
    "strategy": None,
    "metric": None,
    "score": None,
    "sampler": None,
    "place": None,
    "search": None,
    "command": None,
}


def check_class(kind: str, target: Any) -> None:
    """Checks that a class extends the Keras class of its kind.

    Raises:
      ConfigurationError: it does not, or Keras has another backend than TensorFlow.
    """
    name = KINDS[kind]
    if name is None:
        return
    import keras

    if keras.config.backend() != "tensorflow":
        raise ConfigurationError(
            f"vaeflow needs Keras' backend TensorFlow, and Keras was imported with {keras.config.backend()}; "
            "set KERAS_BACKEND=tensorflow before anything imports Keras"
        )
    expected = functools.reduce(getattr, name.split(".")[1:], keras)
    if not (inspect.isclass(target) and issubclass(target, expected)):
        raise ConfigurationError(
            f"@registry.{kind} expects a subclass of {name}, got {target!r} ({location(target)})"
        )
