"""Imports plug-ins: modules whose decorators register something."""

import contextlib
import importlib
import importlib.metadata
import pathlib
import sys
from collections.abc import Iterator

from vaeflow.errors import ConfigurationError

ENTRY_POINT_GROUP = "vaeflow.plugins"


def announced_plugins() -> list[str]:
    """Returns the modules that installed packages announce as plug-ins."""
    return sorted(point.value for point in importlib.metadata.entry_points(group=ENTRY_POINT_GROUP))


def refused_import(place: str, module: str) -> ConfigurationError:
    """Returns the error for an import that the user has not consented to.

    Args:
      place: what asks for the import, e.g. a statement with its file and line.
      module: the module that it names.
    """
    return ConfigurationError(
        f"{place} is refused: an import could run any code; name the module with --plugin={module} if you "
        "trust it"
    )


def load_plugin(module: str) -> None:
    """Imports a plug-in module, whose decorators then register its members.

    Modules of the current folder are found too, after all others and for this import only.

    Args:
      module: a dotted module name, e.g. `my_pkg.blocks`.

    Raises:
      ConfigurationError: it cannot be imported.
    """
    try:
        with _current_folder_on_path():
            importlib.import_module(module)
    except ConfigurationError:
        raise
    except Exception as error:
        raise ConfigurationError(
            f"the plug-in {module!r} cannot be imported: {type(error).__name__}: {error}; it must be "
            "an importable module (installed, or below the current folder)"
        ) from error


@contextlib.contextmanager
def _current_folder_on_path() -> Iterator[None]:
    folder = str(pathlib.Path.cwd())
    sys.path.append(folder)
    try:
        yield
    finally:
        if folder in sys.path:
            # The last one: the same folder may be there for another reason.
            del sys.path[len(sys.path) - 1 - sys.path[::-1].index(folder)]
