"""Explains exceptions that passed through gin: removes its additions and adds the place in the gin files."""

import pathlib
import re
import traceback
from collections.abc import Iterable, Iterator, Sequence

from vaeflow.config import files as gin_files
from vaeflow.config import syntax
from vaeflow.errors import RunError, user_code

# gin appends this to the message of an exception that passes through it.
_TRAIL = re.compile(r"\n  In call to configurable '([^']+)' \(.*?\)(?: in scope '[^']*')?(?=\n|$)", re.DOTALL)
_NOISE = re.compile(r"\n  (?:No values supplied by Gin|Gin had values bound|Caller supplied values)[^\n]*")


def trail(error: BaseException) -> list[str]:
    """Returns the names of gin's calls that were running when an exception was raised, innermost first."""
    return _TRAIL.findall(str(error))


def explain(error: BaseException, bindings: Sequence[syntax.Binding] = ()) -> str:
    """Returns the message of an exception without gin's additions, with its place in the gin files.

    Args:
      error: an exception that may have passed through gin.
      bindings: the bindings in force.

    Returns:
      The message. Unless the error is a `RunError`, it starts with the file and line of the
      binding it names; if it names none, with the name of the object being made and the lines of
      the user's own code that were running.
    """
    message = _NOISE.sub("", _TRAIL.sub("", str(error)))
    if isinstance(error, RunError):
        return message
    calls = trail(error)
    for owner, parameter in re.findall(r"`(?:(\w+)\.)?(\w+)`", message):
        for binding in bindings:
            if binding.parameter == parameter and binding.name and binding.name in (owner, *calls):
                return f"{binding.location.place}: {message}"
    frames = user_code.own_frames(error)
    if not isinstance(error, (ValueError, TypeError)):
        message = user_code.reason(error)
    details: list[str] = [*_making(calls, bindings), *([] if frames else _raised(error))]
    placed = f" ({', '.join(details)})" if details else ""
    return f"{message}{placed}{user_code.shown(frames)}"


def _making(calls: Sequence[str], bindings: Iterable[syntax.Binding]) -> Iterator[str]:
    if not calls:
        return
    yield "while making " + " for ".join(f"`{name}`" for name in calls)
    for binding in bindings:
        for leaf in syntax.leaves(binding.value):
            if isinstance(leaf, syntax.Reference) and leaf.name == calls[0]:
                yield f"asked for at {binding.location.place}"
                return


def _raised(error: BaseException) -> Iterator[str]:
    frames = traceback.extract_tb(error.__traceback__)
    # An error raised in gin's own frame is about the arguments of the call, not about gin.
    if frames and pathlib.Path(frames[-1].filename).parent.name != "gin":
        yield f"raised at {gin_files.show(frames[-1].filename)}:{frames[-1].lineno}"
