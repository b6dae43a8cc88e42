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

import difflib
import functools
import importlib
import pkgutil
from collections.abc import Iterable, Mapping
from typing import TypeVar

from vaeflow.errors import ConfigurationError, user_code
from vaeflow.registry import frameworks
from vaeflow.registry.entry import Entry, constructor_parameters, location
from vaeflow.registry.frameworks import configured
from vaeflow.registry.kinds import KINDS, check_class
from vaeflow.registry.plugins import (
    ENTRY_POINT_GROUP,
    announced_plugins,
    check_trusted,
    is_saved_model,
    load_plugin,
    refused_import,
    undecorated,
)

__all__ = [
    "ENTRY_POINT_GROUP",
    "KINDS",
    "Entry",
    "announced_plugins",
    "augmentation",
    "callback",
    "check_trusted",
    "command",
    "configured",
    "constructor_parameters",
    "dataset",
    "did_you_mean",
    "entries",
    "get",
    "is_saved_model",
    "layer",
    "likelihood",
    "load_builtins",
    "load_plugin",
    "metric",
    "model",
    "optimizer",
    "place",
    "posterior",
    "prior",
    "refused_import",
    "register",
    "sampler",
    "schedule",
    "score",
    "search",
    "source",
    "strategy",
]

_Target = TypeVar("_Target")

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
    "vaeflow.commands.studies",
)

# The comparison of two names takes the product of their lengths.
_LONGEST_COMPARED = 100

_entries: dict[str, Entry] = {}


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
    check_class(kind, target)
    entry = Entry(
        kind=kind,
        name=target.__name__,  # pyright: ignore[reportAttributeAccessIssue] -- a class or function
        target=target,
        package=target.__module__.partition(".")[0],
        location=location(target),
        refused=dict(refused or {}),
    )
    _refuse_collision(entry)
    if entry.package not in ("vaeflow", "keras"):
        user_code.note_package(entry.package)
    frameworks.register_with_keras(entry)
    frameworks.register_with_gin(entry, again=entry.name in _entries)
    _entries[entry.name] = entry
    return target


model = functools.partial(register, "model")
layer = functools.partial(register, "layer")
likelihood = functools.partial(register, "likelihood")
posterior = functools.partial(register, "posterior")
prior = functools.partial(register, "prior")
dataset = functools.partial(register, "dataset")
source = functools.partial(register, "source")
augmentation = functools.partial(register, "augmentation")
optimizer = functools.partial(register, "optimizer")
schedule = functools.partial(register, "schedule")
callback = functools.partial(register, "callback")
strategy = functools.partial(register, "strategy")
metric = functools.partial(register, "metric")
score = functools.partial(register, "score")
sampler = functools.partial(register, "sampler")
place = functools.partial(register, "place")
search = functools.partial(register, "search")
command = functools.partial(register, "command")


def get(name: str) -> Entry:
    """Looks up a registered name.

    Raises:
      ConfigurationError: there is no such name; names the nearest.
    """
    if name not in _entries:
        advice = undecorated(name) or did_you_mean(name, _entries)
        raise ConfigurationError(f"nothing is registered as {name!r}{advice}")
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


def did_you_mean(name: str, candidates: Iterable[str]) -> str:
    """Returns `"; did you mean 'A' or 'B'?"`, or an empty string."""
    if len(name) > _LONGEST_COMPARED:
        return ""
    lowered = {candidate.lower(): candidate for candidate in candidates}
    near: list[str] = []
    for cutoff in (0.85, 0.5):  # Others are named only if none is close.
        near = near or difflib.get_close_matches(name.lower(), lowered, n=3, cutoff=cutoff)
    if not near:
        return ""
    return "; did you mean " + " or ".join(repr(lowered[key]) for key in near) + "?"


def load_builtins() -> None:
    """Imports every module that registers vaeflow's own members."""
    for name in _BUILTIN_PACKAGES:
        package = importlib.import_module(name)
        for module in pkgutil.iter_modules(getattr(package, "__path__", [])):
            importlib.import_module(f"{name}.{module.name}")


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
