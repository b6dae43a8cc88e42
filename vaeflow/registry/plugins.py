"""Loads plug-ins: modules whose decorators register something, and SavedModels, which are programs too."""

import contextlib
import importlib
import importlib.metadata
import importlib.util
import inspect
import pathlib
import sys
from collections.abc import Iterator

from vaeflow.errors import ConfigurationError, user_code
from vaeflow.registry.entry import location
from vaeflow.runs import interpreter

ENTRY_POINT_GROUP = "vaeflow.plugins"

_SAVED_MODEL = "saved_model.pb"

_loaded: list[str] = []
_trusted_programs: set[pathlib.Path] = set()


def announced_plugins() -> list[str]:
    """Returns the modules that installed packages announce as plug-ins.

    Metadata in the current folder announce nothing, even where that folder is on the path:
    whoever sent you a folder has installed nothing.
    """
    distributions = list(importlib.metadata.distributions(path=interpreter.installed_path()))
    if not any(_announced_by(distribution) for distribution in distributions):
        return []  # The names below take ten times as long to read.
    installed: dict[str, importlib.metadata.Distribution] = {}
    for distribution in distributions:
        installed.setdefault(distribution.metadata["Name"], distribution)  # The first is the one imported.
    return sorted(module for each in installed.values() for module in _announced_by(each))


def _announced_by(distribution: importlib.metadata.Distribution) -> list[str]:
    return [point.value for point in distribution.entry_points if point.group == ENTRY_POINT_GROUP]


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


def load_plugin(module: str, named_by_user: bool = True) -> None:
    """Imports a plug-in module, whose decorators then register its members; or trusts a SavedModel.

    A module that the user names and that is not installed is looked for in the current folder,
    which is on the path for this import only. A SavedModel is read by the block that names it.

    Args:
      module: a dotted module name, e.g. `my_pkg.blocks`, or the folder of a SavedModel.
      named_by_user: False for a module that an installed package announces.

    Raises:
      ConfigurationError: it cannot be imported; says why, and in which of its lines.
    """
    if named_by_user and is_saved_model(module):
        _trusted_programs.add(pathlib.Path(module).resolve())
        return
    user_code.note_package(module)
    try:
        package = module.partition(".")[0]
        is_installed = package in sys.modules or importlib.util.find_spec(package) is not None
        with contextlib.nullcontext() if is_installed or not named_by_user else _current_folder_on_path():
            importlib.import_module(module)
    except ConfigurationError:
        raise
    except (Exception, SystemExit) as error:
        where = user_code.shown(user_code.own_frames(error))
        why = user_code.reason(error)
        message = f"the plug-in {module!r} cannot be imported: {why}{_advice(module, error)}{where}"
        raise user_code.marked(ConfigurationError(message)) from error
    _loaded.append(module)


def is_saved_model(path: str | pathlib.Path) -> bool:
    """Whether a path is the folder of a SavedModel."""
    return pathlib.Path(path, _SAVED_MODEL).exists()


def check_trusted(path: pathlib.Path) -> None:
    """Checks that the user has named a SavedModel by `load_plugin`: TensorFlow executes it.

    Args:
      path: its folder.

    Raises:
      ConfigurationError: the user has not.
    """
    if path.resolve() not in _trusted_programs:
        raise ConfigurationError(
            f"{path} is a SavedModel, a program, which could do with your files what you can: name it with "
            f"--plugin={path} if you trust it (in Python, vaeflow.registry.load_plugin({str(path)!r})), or "
            "use a .keras file"
        )


def undecorated(name: str) -> str:
    """Says, as part of a message, that a plug-in has a class of this name which it does not register.

    Args:
      name: a class that a gin file names and that is not registered.

    Returns:
      The advice, or an empty string where no plug-in has such a class.
    """
    packages = {module.partition(".")[0] for module in _loaded}
    for found in [module for module in list(sys.modules) if module.partition(".")[0] in packages]:
        target = vars(sys.modules[found]).get(name)
        if inspect.isclass(target) or inspect.isfunction(target):
            return (
                f"; {location(target)} defines it without registering it: put a decorator above it, such as "
                "@registry.layer or @registry.model"
            )
    return ""


def _advice(module: str, error: BaseException) -> str:
    """Says what to do about a plug-in that cannot be imported; an empty string where its lines say it."""
    if module.endswith(".py") or "/" in module:
        return f"; name the module, not its file: --plugin={_as_module(module)}"
    if not isinstance(error, ModuleNotFoundError) or error.name is None:
        return ""
    if module == error.name or module.startswith(f"{error.name}."):
        return "; it must be installed, or below the current folder"
    return f"; the plug-in needs {error.name!r}, which is not installed here"


def _as_module(path: str) -> str:
    parts = pathlib.PurePosixPath(path).with_suffix("").parts
    return ".".join(part for part in parts if part not in ("/", ".", ".."))


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
