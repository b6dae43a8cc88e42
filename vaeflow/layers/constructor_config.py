"""`get_config` and `from_config` for every layer and model."""

import inspect
from typing import Any, Self

import keras


class ConstructorConfig:
    """A mix-in, before a Keras base class, that remembers the constructor's arguments.

    It serializes nested layers, schedules and lists of them too, so a subclass needs no
    `get_config`. Keras must be able to serialize the arguments: numbers, strings, lists,
    dicts, layers and registered objects.
    """

    _constructor_arguments: dict[str, Any]

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        instance = super().__new__(cls, *args, **kwargs)
        # This bypasses Keras' attribute tracking, which would count nested layers twice.
        object.__setattr__(instance, "_constructor_arguments", _arguments(cls, args, kwargs))
        return instance

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments, serialized."""
        config = super().get_config()  # pyright: ignore[reportAttributeAccessIssue] Keras' class has it.
        for name, value in self._constructor_arguments.items():
            config[name] = keras.saving.serialize_keras_object(value)
        return config

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        """Makes the layer or model from the result of `get_config`."""
        return cls(**{name: _deserialize(value) for name, value in config.items()})


def _arguments(cls: type, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    """Binds a call to the constructor of `cls`: name -> value, defaults included."""
    signature = inspect.signature(cls.__init__)
    try:
        bound = signature.bind(None, *args, **kwargs)
    except TypeError:
        return {}  # The constructor is about to raise a better error.
    bound.apply_defaults()
    arguments = dict(list(bound.arguments.items())[1:])
    for parameter in signature.parameters.values():
        if parameter.kind is parameter.VAR_KEYWORD:
            arguments |= arguments.pop(parameter.name)
    # Keras' own get_config holds these three.
    return {name: value for name, value in arguments.items() if name not in ("name", "dtype", "trainable")}


def _deserialize(value: Any) -> Any:
    if isinstance(value, dict):
        if "class_name" in value:
            return keras.saving.deserialize_keras_object(value)
        return {key: _deserialize(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_deserialize(item) for item in value]
    return value
