"""Reads the meaning of arguments from docstrings."""

import inspect
import re
from collections.abc import Iterator

_SECTION = re.compile(r"^(?:Args|Arguments):\s*$")
_ITEM = re.compile(r"^(\*{0,2}\w+(?:, \*{0,2}\w+)*): *(.*)$")


def arguments(target: type | object) -> dict[str, str]:
    """Collects what docstrings say of the arguments of a function, or of a class and its bases.

    Args:
      target: a function or class.

    Returns:
      A dict, name -> meaning in one line; a class wins over its bases.
    """
    found: dict[str, str] = {}
    # A function whose `**settings` are the fields of classes lists these; see `with_settings`.
    documented = [target, *getattr(target, "settings_classes", ())]
    for each in target.__mro__ if inspect.isclass(target) else documented:
        for name, meaning in _items(each.__doc__ or ""):
            found.setdefault(name, meaning)
    return found


def _items(docstring: str) -> Iterator[tuple[str, str]]:
    """Yields name and meaning of each item of the section `Args:`."""
    names, words = [], []
    for line in _section(inspect.cleandoc(docstring).splitlines()):
        item = _ITEM.match(line)
        if item:
            yield from ((name, " ".join(words)) for name in names)
            names, words = [name.lstrip("*") for name in item[1].split(", ")], [item[2]]
        elif line.strip():
            words.append(line.strip())
    yield from ((name, " ".join(words)) for name in names)


def _section(lines: list[str]) -> Iterator[str]:
    """Yields the lines of the section `Args:`, without the indentation of its items."""
    inside, margin = False, None
    for line in lines:
        if _SECTION.match(line):
            inside = True
        elif inside and line.strip():
            indent = len(line) - len(line.lstrip())
            if indent == 0:
                return
            margin = indent if margin is None else margin
            yield line[margin:]
