"""JSON files: written strictly, read with a check of what they must hold.

    json_files.write(folder / "result.json", {"step": 100})
    json_files.read(folder / "result.json", {"step": json_files.WHOLE})

JSON has no NaN and no infinity: they are written as null. What is read may come from anybody, and may
have been edited: whatever is wrong with it becomes a `MalformedError` of one line.
"""

from __future__ import annotations

import dataclasses
import json
import math
import pathlib
from collections.abc import Callable, Mapping
from typing import Any, NoReturn

from vaeflow.runs import files, reading

_MAX_DEPTH = 50
_MAX_DIGITS = 18  # Fits into 64 bits.


class MalformedError(ValueError):
    """What a file holds is not what it must hold; the message says where and how."""


@dataclasses.dataclass(frozen=True)
class Kind:
    """What a value must be.

    Attributes:
      described: as a message names it.
      accepts: whether a value is of this kind.
    """

    described: str
    accepts: Callable[[Any], bool]


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _mapping(described: str, accepts: Callable[[Any], bool]) -> Kind:
    return Kind(described, lambda value: isinstance(value, dict) and all(map(accepts, value.values())))


WHOLE = Kind("a whole number", lambda value: _is_number(value) and isinstance(value, int))
NUMBER = Kind("a number", _is_number)
TEXT = Kind("a text", _is_text)
TEXT_OR_NULL = Kind("a text or null", lambda value: value is None or _is_text(value))
TEXTS = Kind(
    "a list of texts",
    lambda value: isinstance(value, list) and bool(value) and all(map(_is_text, value)),
)
TEXTS_OR_NONE = Kind("a list of texts", lambda value: value == [] or TEXTS.accepts(value))
SIZES = Kind(
    "a list of positive whole numbers",
    lambda value: isinstance(value, list) and all(WHOLE.accepts(size) and size > 0 for size in value),
)
NUMBERS = Kind("a list of numbers", lambda value: isinstance(value, list) and all(map(_is_number, value)))
OBJECT = Kind("an object", lambda value: isinstance(value, dict))
OBJECT_OR_NULL = Kind("an object or null", lambda value: value is None or isinstance(value, dict))
OBJECTS = Kind("a list of objects", lambda value: isinstance(value, list) and all(map(OBJECT.accepts, value)))
OBJECT_BY_NAME = _mapping("an object of objects", OBJECT.accepts)
SIZES_BY_NAME = _mapping("an object of lists of positive whole numbers", SIZES.accepts)
TEXT_BY_NAME = _mapping("an object of texts", _is_text)
TEXT_OR_NULL_BY_NAME = _mapping("an object of texts", TEXT_OR_NULL.accepts)
NUMBER_BY_NAME = _mapping("an object of numbers", lambda value: value is None or _is_number(value))


def dumps(content: Any, indent: int | None = None, ascii_only: bool = True) -> str:
    """Returns JSON text; what is not finite becomes null.

    Args:
      content: dicts, lists and tuples of texts, numbers, booleans and None.
      indent: as for `json.dumps`.
      ascii_only: whether other characters are written as escapes.
    """
    return json.dumps(_finite(content), indent=indent, allow_nan=False, ensure_ascii=ascii_only)


def write(path: pathlib.Path, content: Any, durable: bool = True, ascii_only: bool = True) -> None:
    """Writes a JSON file, whole or not at all; see `dumps` and `files.write_text`."""
    files.write_text(path, dumps(content, 1, ascii_only) + "\n", durable)


def parse(
    content: bytes, required: Mapping[str, Kind], optional: Mapping[str, Kind] | None = None
) -> dict[str, Any]:
    """Reads a JSON object.

    Args:
      content: JSON text in UTF-8.
      required: the names that it must hold -> the kind of their values.
      optional: those that it may hold. Further names are accepted, whatever they hold.

    Raises:
      MalformedError: it is something else.
    """
    try:
        found = json.loads(
            content.decode(),
            parse_constant=_refuse_constant,
            parse_float=_parse_float,
            parse_int=_parse_int,
            object_pairs_hook=_without_duplicates,
        )
        _check_depth(found, _MAX_DEPTH)
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise MalformedError(f"line {line} is not UTF-8") from error
    except json.JSONDecodeError as error:
        raise MalformedError(f"line {error.lineno} is no JSON: {error.msg}") from error
    except RecursionError as error:
        raise MalformedError("it is nested too deep") from error
    if not isinstance(found, dict):
        raise MalformedError(f"it holds {_described(found)} where an object is expected")
    check(found, required, optional)
    return found


def check(
    found: Mapping[str, Any],
    required: Mapping[str, Kind],
    optional: Mapping[str, Kind] | None = None,
    inside: str = "",
) -> None:
    """Checks what an object holds; see `parse`.

    Args:
      found: the object.
      required, optional: as for `parse`.
      inside: how a message names an object in others, e.g. `"splits/train/"`.

    Raises:
      MalformedError: it holds something else.
    """
    for name in required:
        if name not in found:
            raise MalformedError(f"it lacks {inside + name!r}")
    for name, kind in {**required, **(optional or {})}.items():
        if name in found and not kind.accepts(found[name]):
            raise MalformedError(
                f"its {inside + name!r} must be {kind.described}, got {_described(found[name])}"
            )


def read(
    path: pathlib.Path, required: Mapping[str, Kind], optional: Mapping[str, Kind] | None = None
) -> dict[str, Any]:
    """Reads a file with a JSON object; see `parse`.

    Raises:
      OSError: it cannot be read.
      MalformedError: it holds something else.
    """
    with reading.opened(path) as file:
        return parse(file.read(), required, optional)


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _refuse_constant(name: str) -> NoReturn:
    raise MalformedError(f"it holds {name}, which is no JSON")


def _parse_float(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise MalformedError(f"the number {text[:20]} is too large")
    return value


def _parse_int(text: str) -> int:
    if len(text.lstrip("-")) > _MAX_DIGITS:
        raise MalformedError(f"a number of {len(text.lstrip('-'))} digits is too large")
    return int(text)


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise MalformedError(f"it holds {twice[:50]!r} twice")
    return found


def _check_depth(value: Any, left: int) -> None:
    if not left:
        raise MalformedError("it is nested too deep")
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    for each in inner:
        _check_depth(each, left - 1)


def _described(value: Any) -> str:
    text = dumps(value)
    return text if len(text) <= 50 else f"{text[:50]}…"
