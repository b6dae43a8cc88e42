"""`get_config` and `from_config` for every block and model."""

import inspect

import keras


class ConstructorConfig:
    """A mix-in, before a Keras base class, that remembers the constructor's arguments.

    Nested blocks, schedules and lists of them are serialized with it, so a block
    needs no `get_config` of its own. Arguments must be what Keras can serialize:
    numbers, strings, lists, dicts, layers, and registered objects.
    """

    def __new__(cls, *args, **kwargs):
        instance = super().__new__(cls, *args, **kwargs)
        # Around Keras' attribute tracking, which would count nested blocks twice.
        object.__setattr__(instance, "_constructor_arguments", _arguments(cls, args, kwargs))
        return instance

    def get_config(self):
        """Returns the constructor's arguments, serialized."""
        config = super().get_config()
        for name, value in self._constructor_arguments.items():
            config[name] = keras.saving.serialize_keras_object(value)
        return config

    @classmethod
    def from_config(cls, config):
        """Makes the block or model again from what `get_config` returned."""
        return cls(**{name: _deserialize(value) for name, value in config.items()})


def _arguments(cls, args, kwargs):
    """Binds a call to `cls`'s constructor: name -> value, defaults included."""
    signature = inspect.signature(cls.__init__)
    try:
        bound = signature.bind(None, *args, **kwargs)
    except TypeError:
        return {}  # The constructor itself is about to raise a better error.
    bound.apply_defaults()
    arguments = dict(list(bound.arguments.items())[1:])
    for parameter in signature.parameters.values():
        if parameter.kind is parameter.VAR_KEYWORD:
            arguments |= arguments.pop(parameter.name)
    # Keras' own get_config holds these three.
    return {name: value for name, value in arguments.items() if name not in ("name", "dtype", "trainable")}


def _deserialize(value):
    if isinstance(value, dict):
        if "class_name" in value:
            return keras.saving.deserialize_keras_object(value)
        return {key: _deserialize(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_deserialize(item) for item in value]
    return value
