"""Checks the statements of a gin configuration against the registry, before anything is built."""

import dataclasses
import inspect
import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from vaeflow import registry
from vaeflow.config import limits
from vaeflow.config.syntax import Binding, Macro, leaves, map_references, size
from vaeflow.errors import ConfigurationError

_MOST_PROBLEMS = 5
_MOST_EXPLAINED = 50


_Scope = tuple[str, ...]
_Key = tuple[_Scope, str, str]


def check(root: str, bindings: Sequence[Binding]) -> tuple[list[Binding], list[str]]:
    """Checks a configuration and drops the bindings that this run does not read.

    Args:
      root: the name of the command, whose parameters are the run's settings.
      bindings: every binding, in the order of the statements.

    Returns:
      The bindings in force, with names as registered, and a list of warnings.

    Raises:
      ConfigurationError: a name is unknown, a value is missing, or this run would not
        read a binding; each with its place and the nearest names.
    """
    registry.get(root)
    bindings = _resolve_all(bindings)
    final = _last_of_each(bindings)
    _report(_unbound_macros(final))
    reach = _Reach(root, final)
    _report(reach.problems)
    return _drop_unused(root, bindings, final, reach)


def _report(problems: Iterable[str]) -> None:
    """Raises one error that lists the problems, if there are any."""
    # Not more: to find the nearest name takes a while.
    problems = list(dict.fromkeys(itertools.islice(problems, _MOST_EXPLAINED)))
    if not problems:
        return
    shown = problems[:_MOST_PROBLEMS]
    if len(problems) > len(shown):
        more = "more" if len(problems) == _MOST_EXPLAINED else f"{len(problems) - len(shown)} more"
        shown.append(f"… and {more} like these")
    raise ConfigurationError("\n  ".join(shown))


def _last_of_each(bindings: Iterable[Binding]) -> dict[_Key, Binding]:
    return {binding.key: binding for binding in bindings}


def _resolve_all(bindings: Iterable[Binding]) -> list[Binding]:
    resolved, problems = list[Binding](), list[str]()
    for binding in bindings:
        try:
            resolved.append(_resolve(binding))
        except ConfigurationError as error:
            problems.append(f"{binding.location}: {error}")
            if len(problems) == _MOST_EXPLAINED:
                break
    _report(problems)
    return resolved


def _resolve(binding: Binding) -> Binding:
    """Replaces names by those in the registry: `vaeflow.VAE` and `VAE` are the same class."""
    value = map_references(
        lambda reference: dataclasses.replace(reference, name=_entry(reference.name).name), binding.value
    )
    if binding.is_macro:
        return dataclasses.replace(binding, value=value)
    entry = _entry(binding.name)
    parameter = binding.parameter
    if parameter in entry.refused:
        raise ConfigurationError(f"`{entry.name}.{parameter}` cannot be set here: {entry.refused[parameter]}")
    if parameter not in entry.parameters:
        near = registry.did_you_mean(parameter, entry.parameters)
        known = ", ".join(entry.parameters) or "none"
        raise ConfigurationError(
            f"`{entry.name}` has no parameter {parameter!r}{near or f'; its parameters are: {known}'}"
        )
    return dataclasses.replace(binding, name=entry.name, value=value)


def _entry(name: str) -> registry.Entry:
    package, _, last = name.rpartition(".")
    entry = registry.get(last)
    if package and package != entry.package:
        raise ConfigurationError(f"{last!r} is from {entry.package!r}, not {package!r}; write `{last}` alone")
    return entry


def _unbound_macros(final: dict[_Key, Binding]) -> Iterator[str]:
    names = {"/".join([*scope, parameter]) for scope, name, parameter in final if not name}
    for binding in final.values():
        for leaf in leaves(binding.value):
            if isinstance(leaf, Macro) and not leaf.is_required and leaf.name not in names:
                near = registry.did_you_mean(leaf.name, names)
                yield f"{binding.location}: %{leaf.name} has no value: add `{leaf.name} = …`{near}"


def _macro_key(name: str) -> _Key:
    *scope, last = name.split("/")
    return tuple(scope), "", last


class _Reach:
    """Finds the bindings a command reads, by walking from its parameters as gin would call them.

    Each call and each macro is walked once in each scope.

    Scopes follow gin: a scoped reference replaces the current scope, any other keeps it.
    In a scope `a/b`, the bindings without scope, of `a` and of `a/b` apply, and the deepest
    wins. A macro's value is evaluated in a scope named after the macro.

    Attributes:
      used: keys of the bindings that are read.
      visited: name -> the set of scopes it is called in.
      problems: missing values, and references that form a circle.
    """

    def __init__(self, root: str, final: dict[_Key, Binding]) -> None:
        self._final = final
        self._of: dict[str, list[Binding]] = {}
        for binding in final.values():
            self._of.setdefault(binding.name, []).append(binding)
        self._extents: dict[tuple[str, _Scope, Any], limits.Extent] = {}
        self._depth = 0
        self.used: set[_Key] = set()
        self.visited: dict[str, set[_Scope]] = {}
        self.problems: list[str] = []
        self._visit(root, (), None, True, ())

    def holds_somewhere(self, binding: Binding) -> bool:
        """Returns whether any call is in the binding's scope (a deeper one may win there)."""
        depth = len(binding.scope)
        return any(scope[:depth] == binding.scope for scope in self.visited.get(binding.name, ()))

    def _visit(
        self,
        name: str,
        scope: _Scope,
        source: Binding | None,
        evaluate: bool,
        path: tuple[tuple[str, _Scope], ...],
    ) -> limits.Extent:
        """Walks the bindings of a call; returns what gin would make for it."""
        if (name, scope) in path:
            place = f"{source.location}: " if source else ""
            self.problems.append(f"{place}@{name}() refers to itself")
            return limits.Extent(1)
        key = name, scope, evaluate
        if key not in self._extents:
            extent = self._extents[key] = limits.Extent(1)  # Of a call within itself that gin makes later.
            self.visited.setdefault(name, set()).add(scope)
            bound = self._bindings_in_force(name, scope)
            self._require_parameters(name, source, evaluate, bound)
            for binding in bound.values():
                self.used.add(binding.key)
                extent = extent.holding(self._walk(binding, (scope, scope), (*path, (name, scope)), ()))
            self._extents[key] = extent
        return self._extents[key]

    def _bindings_in_force(self, name: str, scope: _Scope) -> dict[str, Binding]:
        bound: dict[str, Binding] = {}
        for depth in range(len(scope) + 1):
            for binding in self._of.get(name, ()):
                if binding.scope == scope[:depth]:
                    bound[binding.parameter] = binding
        return bound

    def _require_parameters(self, name, source, evaluate, bound):
        entry = registry.get(name)
        # A function passed without a call gets its arguments from its caller.
        if not (evaluate or inspect.isclass(entry.target)):
            return
        for parameter in entry.parameters.values():
            if parameter.default is parameter.empty and parameter.name not in bound:
                label = f"{name}.{parameter.name}"
                needed = f"{source.location}: " if source else ""
                self.problems.append(f"{needed}`{label}` must be given: add --gin_param='{label} = …'")

    def _walk(self, binding, scopes, path, macros):
        """Follows a value; `scopes` are the scopes of calls made now and of calls made later."""
        now, later = scopes
        extent = limits.Extent(size(binding.value))
        limits.refuse(limits.Extent(height=self._depth), binding)
        self._depth += 1
        for leaf in leaves(binding.value):
            if isinstance(leaf, Macro):
                part = self._expand(leaf, binding, later, path, macros)
            elif leaf.evaluate:
                part = self._visit(leaf.name, leaf.scopes or now, binding, True, path)
            else:
                part = self._visit(leaf.name, leaf.scopes or later, binding, False, ())
            extent = extent.holding(part)
            limits.refuse(extent, binding)
        self._depth -= 1
        return extent

    def _expand(self, macro, binding, later, path, macros):
        key = macro.name, later, "macro"
        if macro.is_required:
            self.problems.append(
                f"{binding.location}: `{binding.label}` must be given: add --gin_param='{binding.label} = …'"
            )
        elif macro.name in macros:
            self.problems.append(f"{binding.location}: %{macro.name} is defined by itself")
        elif _macro_key(macro.name) in self._final and key not in self._extents:
            definition = self._final[_macro_key(macro.name)]
            self.used.add(definition.key)
            scopes = (tuple(macro.name.split("/")), later)
            self._extents[key] = self._walk(definition, scopes, path, (*macros, macro.name))
        return self._extents.get(key, limits.Extent(1))


def _drop_unused(root, bindings, final, reach):
    """Separates unread bindings into errors, warnings, and bindings of other commands."""
    from_files = _last_of_each(b for b in bindings if b.location.origin != "command line")
    commands = [entry.name for entry in registry.entries("command")]
    # For every command: `evaluate` reads a configuration written for `train`, and may override it.
    without_overrides = {key for name in commands for key in _Reach(name, from_files).used}
    others = {key for name in commands if name != root for key in _Reach(name, final).used}
    kept, warnings, unused = list[Binding](), list[str](), list[Binding]()
    for key, binding in final.items():
        if key in reach.used or key in others:
            kept.append(binding)
        elif reach.holds_somewhere(binding):
            kept.append(binding)
            warnings.append(f"{binding.location}: has no effect: every scope that reads it binds its own")
        elif binding.location.origin == "included" or (
            binding.location.origin == "given" and key in without_overrides
        ):
            explained = len(warnings) < _MOST_EXPLAINED
            reason = _why_unused(binding, root, reach) if explained else "this run does not read it"
            warnings.append(f"{binding.location}: {reason}")
        else:
            unused.append(binding)
    _report(f"{binding.location}: {_why_unused(binding, root, reach)}" for binding in unused)
    return kept, warnings


def _why_unused(binding, root, reach):
    if binding.is_macro:
        used = ["/".join([*scope, parameter]) for scope, name, parameter in reach.used if not name]
        near = registry.did_you_mean(binding.label, used)
        return f"this run does not read it: nothing that `{root}` uses refers to %{binding.label}{near}"
    scopes = sorted("/".join(scope) for scope in reach.visited.get(binding.name, ()))
    if scopes:
        named = scopes[:_MOST_PROBLEMS]
        places = " and ".join(f"in the scope {scope!r}" if scope else "without a scope" for scope in named)
        places += " and in others" if len(scopes) > len(named) else ""
        return f"this run does not read it: @{binding.name} is used, but {places}"
    reason = f"this run does not read it: nothing that `{root}` uses refers to @{binding.name}"
    return reason + _advice(binding, root, reach)


def _advice(binding, root, reach):
    """Names the classes the run uses instead, the nearest name, and where to add the reference."""
    entry = registry.get(binding.name)
    peers = sorted(name for name in reach.visited if registry.get(name).kind == entry.kind)
    advice = f"; its {entry.kind} is {' and '.join(peers)}" if peers else ""
    names = peers or reach.visited
    theirs = [f"{name}.{parameter}" for name in names for parameter in registry.get(name).parameters]
    same = [label for label in theirs if label.endswith(f".{binding.parameter}")]
    advice += registry.did_you_mean(binding.label, same or theirs)
    parameters = registry.get(root).parameters
    if entry.kind in parameters and not peers:
        advice += f" Did you forget `{root}.{entry.kind} = @{entry.name}`?"
    elif f"{entry.kind}s" in parameters:
        advice += f" Did you forget to add @{entry.name}() to `{root}.{entry.kind}s`?"
    return advice
