"""Checks the statements of a gin configuration against the registry, before anything is built."""

import dataclasses
import itertools
from collections.abc import Iterable, Iterator, Sequence

from vaeflow import registry
from vaeflow.config.reach import STUDY, Key, Reach
from vaeflow.config.syntax import Binding, Macro, leaves, map_references
from vaeflow.errors import ConfigurationError

_MOST_PROBLEMS = 5
_MOST_EXPLAINED = 50


@dataclasses.dataclass(frozen=True)
class Checked:
    """The bindings of a configuration that has been checked, with names as registered.

    Attributes:
      bindings: those that some command reads.
      own: those of them that the root itself reads.
      warnings: which others were dropped, and why.
    """

    bindings: list[Binding]
    own: list[Binding]
    warnings: list[str]


def check(root: str, bindings: Sequence[Binding]) -> Checked:
    """Checks a configuration and drops the bindings that this run does not read.

    Args:
      root: the name of the command, whose parameters are the run's settings.
      bindings: every binding, in the order of the statements.

    Raises:
      ConfigurationError: a name is unknown, a value is missing, or this run would not
        read a binding; each with its place and the nearest names.
    """
    registry.get(root)
    bindings = _resolve_all(bindings)
    final = _last_of_each(bindings)
    _report(_unbound_macros(final))
    reach = Reach(root, final)
    _report(reach.problems)
    kept, warnings = _drop_unused(root, bindings, final, reach)
    return Checked(kept, [binding for binding in kept if binding.key in reach.used], warnings)


def keys_read(root: str, bindings: Sequence[Binding]) -> set[Key]:
    """Returns the keys of the bindings that a command reads, of a checked configuration."""
    return Reach(root, _last_of_each(bindings)).used


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


def _last_of_each(bindings: Iterable[Binding]) -> dict[Key, Binding]:
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


def _unbound_macros(final: dict[Key, Binding]) -> Iterator[str]:
    names = {"/".join([*scope, parameter]) for scope, name, parameter in final if not name}
    for binding in final.values():
        for leaf in leaves(binding.value):
            if isinstance(leaf, Macro) and not leaf.is_required and leaf.name not in names:
                near = registry.did_you_mean(leaf.name, names)
                yield f"{binding.location}: %{leaf.name} has no value: add `{leaf.name} = …`{near}"


def _drop_unused(root, bindings, final, reach):
    """Separates unread bindings into errors, warnings, and bindings of other commands."""
    from_files = _last_of_each(b for b in bindings if b.location.origin in ("given", "included"))
    commands = [entry.name for entry in registry.entries("command")]
    # For every command: `evaluate` reads a configuration written for `train`, and may override it.
    without_overrides = {key for name in commands for key in Reach(name, from_files).used}
    others = {key for name in commands if name not in (root, STUDY) for key in Reach(name, final).used}
    studied = _studied(bindings, from_files) if STUDY in commands else set()
    kept, warnings, unused = list[Binding](), list[str](), list[Binding]()
    for key, binding in final.items():
        if key in reach.used or key in others:
            kept.append(binding)
        elif key in studied and binding.location.origin != "command line":
            continue
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


def _studied(bindings, from_files):
    """Returns what a study in the same files reads: its own settings, and those of each of its runs."""
    with_shared = _last_of_each(b for b in bindings if b.location.origin != "command line")
    return Reach(STUDY, from_files).used | Reach(STUDY, with_shared).used


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
