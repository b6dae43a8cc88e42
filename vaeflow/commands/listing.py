"""Describes registered classes and functions for people."""

import inspect
import itertools
import textwrap
from collections.abc import Iterable

from vaeflow import registry
from vaeflow.commands import documentation

_WIDTH = 100
# Keeps a parameter and its default on one line.
_NO_BREAK_SPACE = "\N{NO-BREAK SPACE}"


def describe(entries: Iterable[registry.Entry]) -> str:
    """Returns name, purpose, module and parameters of `registry.Entry`s, grouped by kind."""
    return "\n".join(_lines(entries)).strip("\n")


def describe_one(entry: registry.Entry) -> str:
    """Returns what one entry is, and the meaning and default of each of its parameters."""
    lines = [f"{entry.name} ({entry.kind})", ""]
    lines += [_wrapped(entry.summary, 2), f"  from {entry.target.__module__}"]
    meanings = documentation.arguments(entry.target)
    for parameter in _own_parameters(entry):
        lines += ["", f"  {entry.name}.{parameter.name}{_default(parameter)}"]
        if meaning := meanings.get(parameter.name):
            lines.append(_wrapped(meaning, 6))
    return "\n".join(lines)


def _default(parameter):
    if parameter.default is inspect.Parameter.empty:
        return ", required"
    default = parameter.default
    return f" = {f'@{default.__name__}' if callable(default) else repr(default)}"


def _lines(entries):
    column = max((len(entry.name) for entry in entries), default=0) + 4
    for kind, members in itertools.groupby(entries, key=lambda entry: entry.kind):
        yield f"\n{kind}\n"
        for entry in members:
            parameters = ", ".join(map(_signature, _own_parameters(entry)))
            details = [entry.summary, f"from {entry.target.__module__}", parameters]
            text = "\n".join(_wrapped(detail, column) for detail in details if detail)
            yield f"  {entry.name}".ljust(column) + text[column:]


def _own_parameters(entry):
    """The parameters without those that every Keras layer has, such as `name` and `dtype`."""
    import keras

    is_layer = inspect.isclass(entry.target) and issubclass(entry.target, keras.layers.Layer)
    common = registry.constructor_parameters(keras.layers.Layer) if is_layer else {}
    return [parameter for name, parameter in entry.parameters.items() if name not in common]


def _signature(parameter):
    if parameter.default is inspect.Parameter.empty:
        return parameter.name
    return f"{parameter.name}={parameter.default!r}".replace(" ", _NO_BREAK_SPACE)


def _wrapped(text, indent):
    margin = " " * indent
    lines = textwrap.fill(
        text,
        _WIDTH,
        initial_indent=margin,
        subsequent_indent=margin,
        break_long_words=False,
        break_on_hyphens=False,
    )
    return lines.replace(_NO_BREAK_SPACE, " ")
