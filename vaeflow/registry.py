"""The registry: one decorator per kind of thing a user can plug into a run.

    from vaeflow import registry
    from vaeflow.layers import Layer

    @registry.layer
    class Gate(Layer):
        ...

A decorated class is returned unchanged. It can then be named in a gin file
(`VAE.encoder = @Gate()`), is listed by `vaeflow list`, and is known to
Keras' `save` and `load_model`.
"""

import contextlib
import dataclasses
import difflib
import functools
import importlib
import importlib.metadata
import inspect
import pathlib
import pkgutil
import sys
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypeVar

import gin

from vaeflow.errors import ConfigurationError

ENTRY_POINT_GROUP = "vaeflow.plugins"

_Target = TypeVar("_Target")

# Kind -> the Keras class its members must extend, or None.
KINDS: dict[str, str | None] = {
    "model": "keras.Model",
    "layer": "keras.layers.Layer",
    "likelihood": "keras.layers.Layer",
    "prior": "keras.layers.Layer",
    "dataset": None,
    "optimizer": "keras.optimizers.Optimizer",
    "schedule": "keras.optimizers.schedules.LearningRateSchedule",
    "callback": None,
    "strategy": None,
    "metric": None,
    "sampler": None,
    "command": None,
}

# The packages whose modules register vaeflow's own members when imported.
_BUILTIN_PACKAGES = (
    "vaeflow.devices.strategies",
    "vaeflow.schedules",
    "vaeflow.optimizers",
    "vaeflow.layers",
    "vaeflow.datasets",
    "vaeflow.models",
    "vaeflow.callbacks",
    "vaeflow.samplers",
    "vaeflow.metrics",
    "vaeflow.commands",
)


@dataclasses.dataclass(frozen=True)
class Entry:
    """One registered class or function.

    Attributes:
      kind: a key of `KINDS`.
      name: its Python name, which is also its name in gin.
      target: the class or function itself.
      package: its top-level package, e.g. `vaeflow`.
      location: `file:line` of its definition.
      refused: parameters that gin must not set -> what to do instead.
    """

    kind: str
    name: str
    target: Any
    package: str
    location: str
    refused: dict[str, str]

    @property
    def summary(self) -> str:
        """The first line of the docstring."""
        documentation = inspect.getdoc(self.target) or ""
        return documentation.split("\n")[0]

    @functools.cached_property
    def parameters(self) -> dict[str, inspect.Parameter]:
        """The parameters that gin may set: name -> `inspect.Parameter`."""
        return {
            name: parameter
            for name, parameter in constructor_parameters(self.target).items()
            if name not in self.refused
        }


_entries: dict[str, Entry] = {}


def constructor_parameters(target: Any) -> dict[str, inspect.Parameter]:
    """Collects the parameters of a function, or of a class along its bases.

    A constructor that ends in `**kwargs` passes the rest to the next base, so the bases'
    parameters count too, up to the first base without `**kwargs`.

    Args:
      target: a function or class.

    Returns:
      A dict, name -> `inspect.Parameter`, in the order of the signatures.
    """
    if not inspect.isclass(target):
        constructors = [(None, target)]
    else:
        constructors = [
            (base, base.__dict__["__init__"])
            for base in target.__mro__
            if "__init__" in base.__dict__ and base is not object
        ]
    found: dict[str, inspect.Parameter] = {}
    for base, constructor in constructors:
        parameters = list(inspect.signature(constructor).parameters.values())
        if base is not None:
            parameters = parameters[1:]
        for parameter in parameters:
            if parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
                found.setdefault(parameter.name, parameter)
        if not any(p.kind is p.VAR_KEYWORD for p in parameters):
            break
    return found


def register(kind: str, target: _Target, refused: Mapping[str, str] | None = None) -> _Target:
    """Registers a class or function under a kind.

    Prefer the decorators (`@registry.layer`, …); call this for classes of other
    libraries.

    Args:
      kind: a key of `KINDS`.
      target: the class or function; its `__name__` becomes its name.
      refused: parameters that gin must not set -> what to do instead.

    Returns:
      `target`, unchanged.

    Raises:
      ConfigurationError: the name is taken, or `target` has the wrong class.
    """
    if kind not in KINDS:
        raise ConfigurationError(f"unknown kind {kind!r}{did_you_mean(kind, KINDS)}")
    _check_class(kind, target)
    entry = Entry(
        kind=kind,
        name=target.__name__,
        target=target,
        package=target.__module__.partition(".")[0],
        location=_location(target),
        refused=dict(refused or {}),
    )
    _refuse_collision(entry)
    _register_with_keras(entry)
    _register_with_gin(entry)
    _entries[entry.name] = entry
    return target


model = functools.partial(register, "model")
layer = functools.partial(register, "layer")
likelihood = functools.partial(register, "likelihood")
prior = functools.partial(register, "prior")
dataset = functools.partial(register, "dataset")
optimizer = functools.partial(register, "optimizer")
schedule = functools.partial(register, "schedule")
callback = functools.partial(register, "callback")
strategy = functools.partial(register, "strategy")
metric = functools.partial(register, "metric")
sampler = functools.partial(register, "sampler")
command = functools.partial(register, "command")


def get(name: str) -> Entry:
    """Looks up a registered name.

    Raises:
      ConfigurationError: there is no such name; names the nearest.
    """
    if name not in _entries:
        raise ConfigurationError(f"nothing is registered as {name!r}{did_you_mean(name, _entries)}")
    return _entries[name]


def entries(kind: str | None = None) -> list[Entry]:
    """Returns the entries of one kind or of all, sorted by kind and name.

    Raises:
      ConfigurationError: there is no such kind; names the nearest.
    """
    if kind is not None and kind not in KINDS:
        raise ConfigurationError(
            f"unknown kind {kind!r}{did_you_mean(kind, KINDS) or '.'} The kinds are {', '.join(KINDS)}"
        )
    order = list(KINDS)
    chosen = [entry for entry in _entries.values() if kind in (None, entry.kind)]
    return sorted(chosen, key=lambda entry: (order.index(entry.kind), entry.name.lower()))


def configured(target: Any) -> Any:
    """Returns `target` with the parsed gin configuration injected when called."""
    return gin.get_configurable(target)


def did_you_mean(name: str, candidates: Iterable[str]) -> str:
    """Returns `"; did you mean 'A' or 'B'?"`, or an empty string."""
    lowered = {candidate.lower(): candidate for candidate in candidates}
    near = difflib.get_close_matches(name.lower(), lowered, n=3, cutoff=0.5)
    if not near:
        return ""
    return "; did you mean " + " or ".join(repr(lowered[key]) for key in near) + "?"


def load_builtins() -> None:
    """Imports every module that registers vaeflow's own members."""
    for name in _BUILTIN_PACKAGES:
        package = importlib.import_module(name)
        for module in pkgutil.iter_modules(getattr(package, "__path__", [])):
            importlib.import_module(f"{name}.{module.name}")


def announced_plugins() -> list[str]:
    """Returns the modules that installed packages announce as plug-ins."""
    return sorted(point.value for point in importlib.metadata.entry_points(group=ENTRY_POINT_GROUP))


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


def _check_class(kind: str, target: Any) -> None:
    if KINDS[kind] is None:
        return
    import keras

    expected = functools.reduce(getattr, KINDS[kind].split(".")[1:], keras)
    if not (inspect.isclass(target) and issubclass(target, expected)):
        raise ConfigurationError(
            f"@registry.{kind} expects a subclass of {KINDS[kind]}, got {target!r} ({_location(target)})"
        )


def _location(target: Any) -> str:
    try:
        number = inspect.getsourcelines(target)[1]
        return f"{inspect.getsourcefile(target)}:{number}"
    except (OSError, TypeError):
        return target.__module__


def _same_definition(one: Entry, other: Entry) -> bool:
    """Returns whether a notebook cell or module was run again and defines the same name."""
    return (one.target.__module__, one.target.__qualname__) == (
        other.target.__module__,
        other.target.__qualname__,
    )


def _refuse_collision(entry: Entry) -> None:
    taken = _entries.get(entry.name)
    if taken and not _same_definition(taken, entry):
        raise ConfigurationError(
            f"two classes are registered as {entry.name!r}: a {taken.kind} at {taken.location} and a "
            f"{entry.kind} at {entry.location}; rename one of them"
        )


def _register_with_keras(entry: Entry) -> None:
    if not inspect.isclass(entry.target) or entry.package == "keras" or KINDS[entry.kind] is None:
        return
    import keras

    keras.saving.register_keras_serializable(package=entry.package)(entry.target)


def _register_with_gin(entry: Entry) -> None:
    interactive = entry.name in _entries
    if interactive:
        gin.enter_interactive_mode()
    try:
        gin.register(entry.name, module=entry.package, allowlist=list(entry.parameters))(entry.target)
    finally:
        if interactive:
            gin.exit_interactive_mode()
