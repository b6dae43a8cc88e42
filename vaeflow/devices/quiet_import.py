"""Imports TensorFlow without its start-up lines."""

import importlib

from vaeflow.runs import streams


def import_tensorflow() -> None:
    """Imports TensorFlow; what its libraries write to stderr is shown only if the import fails.

    They log half a dozen lines before they read the log level, past Python's own stream.
    """
    with streams.errors_held_back():
        importlib.import_module("tensorflow")
