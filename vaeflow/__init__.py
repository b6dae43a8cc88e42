"""vaeflow trains variational autoencoders on many GPUs.

Importing this package imports neither TensorFlow nor Keras: the names below are
resolved when they are first used.
"""

from vaeflow.devices import quiet_import

__version__ = "0.1.0"

_MODULES = ("callbacks", "datasets", "distributions", "layers", "models", "registry", "schedules")
_OBJECTS = {
    "VAE": "vaeflow.models",
    "BetaVAE": "vaeflow.models",
    "ConvVAE": "vaeflow.models",
    "Trainer": "vaeflow.training.trainer",
    "TrainingSettings": "vaeflow.training.settings",
    "train": "vaeflow.commands.python",
    "load": "vaeflow.trained",
}

__all__ = [*_OBJECTS, *_MODULES]

quiet_import.quiet_tensorflow()


def __getattr__(name):
    import importlib  # Here, as in `quiet_import`.

    if name in _MODULES:
        return importlib.import_module(f"vaeflow.{name}")
    if name in _OBJECTS:
        return getattr(importlib.import_module(_OBJECTS[name]), name)
    raise AttributeError(f"module 'vaeflow' has no attribute {name!r}")


def __dir__():
    return sorted({*globals(), *__all__})
