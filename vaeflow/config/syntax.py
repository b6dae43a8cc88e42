"""The statements of a gin file as plain values, and how to write them back as text."""

import dataclasses
import math
import pprint
from collections.abc import Callable, Iterable, Iterator
from typing import Any

_LINE_WIDTH = 100
_REQUIRED = ("gin.REQUIRED", "REQUIRED")


@dataclasses.dataclass(frozen=True, order=True)
class Reference:
    """`@scope/Name`, or `@scope/Name()` if `evaluate` is true."""

    scopes: tuple[str, ...]
    name: str
    evaluate: bool

    def __repr__(self) -> str:
        return "@" + "/".join([*self.scopes, self.name]) + ("()" if self.evaluate else "")


@dataclasses.dataclass(frozen=True, order=True)
class Macro:
    """`%name`."""

    name: str

    def __repr__(self) -> str:
        return f"%{self.name}"

    @property
    def is_required(self) -> bool:
        """Whether it is `%gin.REQUIRED`: a value that another statement must give."""
        return self.name in _REQUIRED


@dataclasses.dataclass(frozen=True)
class Location:
    """The place of a statement.

    Attributes:
      place: `configs/vae.gin:12`, or `--gin_param='…'`.
      text: its first line, or an empty string if `place` contains it.
      origin: `given` (a `--gin_file`), `included`, `command line`, or `shared` (the command line of the
        study that the run is part of).
    """

    place: str
    text: str
    origin: str

    def __str__(self) -> str:
        return f"{self.place}: `{self.text}`" if self.text else self.place


@dataclasses.dataclass(frozen=True)
class Binding:
    """`scope/Name.parameter = value`, or `name = value`, which defines the macro `%name`.

    Attributes:
      scope: a tuple of scope names.
      name: the class or function; for a macro, an empty string.
      parameter: its parameter; for a macro, the macro's name.
      value: a literal that may hold `Reference` and `Macro`.
      location: a `Location`.
    """

    scope: tuple[str, ...]
    name: str
    parameter: str
    value: Any
    location: Location

    @property
    def is_macro(self) -> bool:
        """Whether it defines a macro."""
        return not self.name

    @property
    def key(self) -> tuple[tuple[str, ...], str, str]:
        """Identifies the binding: a later one with the same key overrides it."""
        return self.scope, self.name, self.parameter

    @property
    def label(self) -> str:
        """The left-hand side, as a user writes it."""
        target = self.parameter if self.is_macro else f"{self.name}.{self.parameter}"
        return "/".join([*self.scope, target])


def leaves(value: Any) -> Iterator[Reference | Macro]:
    """Yields the references and macros in a value, including those in containers."""
    if isinstance(value, (Reference, Macro)):
        yield value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from leaves(key)
            yield from leaves(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from leaves(item)


def size(value: Any) -> int:
    """Returns the number of literals, references, macros and containers in a value."""
    if isinstance(value, dict):
        return 1 + sum(size(key) + size(item) for key, item in value.items())
    if isinstance(value, (list, tuple)):
        return 1 + sum(map(size, value))
    return 1


def map_references(function: Callable[[Reference], Any], value: Any) -> Any:
    """Returns `value` with every `Reference` in it replaced by `function(reference)`."""
    if isinstance(value, Reference):
        return function(value)
    if isinstance(value, dict):
        return {map_references(function, k): map_references(function, v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(map_references(function, item) for item in value)
    return value


def format_statements(imports: Iterable[str], bindings: Iterable[Binding]) -> str:
    """Writes statements as gin text that depends only on their meaning.

    Args:
      imports: module names.
      bindings: `Binding`s, one per key, in any order.

    Returns:
      Gin text: imports, macros, then a paragraph per class, each sorted.
    """
    paragraphs: dict[Any, list[str]] = {}
    for module in sorted(set(imports)):
        paragraphs.setdefault("imports", []).append(f"import {module}")
    for binding in sorted(bindings, key=_order):
        paragraph = (binding.name, binding.scope if binding.name else ())
        paragraphs.setdefault(paragraph, []).append(_format_binding(binding))
    return "\n\n".join("\n".join(lines) for lines in paragraphs.values()) + "\n"


def format_value(value: Any) -> str:
    """Writes a value as gin text in one line."""
    return _Printer(width=10**6).pformat(value)


def _order(binding):
    return (binding.name.lower(), *binding.key[1:2], binding.scope, binding.parameter)


def _format_binding(binding):
    one_line = f"{binding.label} = {format_value(binding.value)}"
    if len(one_line) <= _LINE_WIDTH:
        return one_line
    lines = _Printer(width=_LINE_WIDTH - 4).pformat(binding.value).split("\n")
    return "\n    ".join([f"{binding.label} = \\", *lines])


class _Printer(pprint.PrettyPrinter):
    """Writes infinities as literals that gin can read."""

    def format(
        self,
        object: Any,  # noqa: A002 -- the name in pprint
        context: dict[int, int],
        maxlevels: int,
        level: int,
    ) -> tuple[str, bool, bool]:
        if isinstance(object, float) and math.isinf(object):
            return ("1e999" if object > 0 else "-1e999"), True, False
        return super().format(object, context, maxlevels, level)
