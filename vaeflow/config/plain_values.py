"""The settings in force as plain values, for whoever compares runs."""

from collections.abc import Iterator, Mapping
from typing import Any

from vaeflow.config import syntax
from vaeflow.config.reading import Reader


def of_text(text: str) -> dict[str, Any]:
    """Returns the statements of a gin text as plain values: `Class.parameter` -> value.

    Returns:
      Numbers, booleans, None, texts, and lists of these; anything else is the text that gin has for it.
    """
    reader = Reader()
    reader.read_parameter(text)
    return {binding.label: _plain(binding.value) for binding in reader.bindings}


def flattened(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Yields the leaves of nested dicts and lists as such values, each with the names that lead to it."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from flattened(item, f"{name}.{key}" if name else str(key))
    elif isinstance(value, list) and any(isinstance(item, Mapping | list) for item in value):
        for index, item in enumerate(value):
            yield from flattened(item, f"{name}.{index}")
    else:
        yield name, _plain(value)


def _plain(value: Any) -> Any:
    if _is_single(value):
        return value
    if isinstance(value, list | tuple) and all(map(_is_single, value)):
        return list(value)
    return syntax.format_value(value)


def _is_single(value: Any) -> bool:
    return value is None or isinstance(value, bool | int | float | str)
