"""Makes registered classes known to gin and Keras."""

import inspect
from typing import Any

import gin

from vaeflow.registry.entry import Entry
from vaeflow.registry.kinds import KINDS


def configured(target: Any) -> Any:
    """Returns `target` with the parsed gin configuration injected when called."""
    return gin.get_configurable(target)


def register_with_keras(entry: Entry) -> None:
    """Lets Keras save and load the classes that extend one of its own."""
    if not inspect.isclass(entry.target) or entry.package == "keras" or KINDS[entry.kind] is None:
        return
    import keras

    keras.saving.register_keras_serializable(package=entry.package)(entry.target)


def register_with_gin(entry: Entry, again: bool) -> None:
    """Lets gin files name an entry; `again` if its name was registered before."""
    if again:
        gin.enter_interactive_mode()
    try:
        gin.register(entry.name, module=entry.package, allowlist=list(entry.parameters))(entry.target)
    finally:
        if again:
            gin.exit_interactive_mode()
