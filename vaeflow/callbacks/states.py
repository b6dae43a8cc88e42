"""The states of callbacks: given to them when a run starts, and collected for each checkpoint."""

import collections
import copy
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from vaeflow.callbacks.base import Callback
from vaeflow.callbacks.checkpoints import Checkpoints
from vaeflow.errors import ConfigurationError, user_code

_FORM = "numbers, texts, booleans and None, in lists and in dicts with texts as names, all finite"


def give(callbacks: Sequence[Callback], saved: Mapping[str, dict[str, Any]]) -> None:
    """Gives each callback the state that a checkpoint has of it, or an empty one."""
    for name, callback in _named(callbacks):
        callback.state = copy.deepcopy(saved.get(name, {}))


def collected(callbacks: Sequence[Callback]) -> dict[str, dict[str, Any]]:
    """Returns the states that are not empty, name -> state, for the record of a checkpoint.

    Raises:
      ConfigurationError: one is not plain JSON, so a resumed run would get another; or its callback
        stands after `Checkpoints`, so a checkpoint would hold the state before the callback has acted.
    """
    found, saved_by = {}, None
    for name, callback in _named(callbacks):
        if isinstance(callback, Checkpoints):
            saved_by = name
        if not callback.state:
            continue
        if saved_by is not None:
            raise ConfigurationError(
                f"`train.callbacks` must list {name} before {saved_by}: it has a state, and a checkpoint "
                "would hold that of the loop before"
            )
        if not _is_plain(callback.state):
            described = user_code.described(callback.state)
            raise user_code.wrong(callback, "state", f"must be plain JSON ({_FORM}); it is {described}")
        found[name] = copy.deepcopy(callback.state)
    return found


def _named(callbacks: Sequence[Callback]) -> Iterator[tuple[str, Callback]]:
    """Yields each callback with the name of its class; of several of one class, with a number too."""
    counts: collections.Counter[str] = collections.Counter()
    for callback in callbacks:
        name = type(callback).__name__
        counts[name] += 1
        yield (name if counts[name] == 1 else f"{name}-{counts[name]}"), callback


def _is_plain(state: Any) -> bool:
    """Whether JSON gives a state back as it is: a tuple would become a list, NaN null."""
    try:
        return isinstance(state, dict) and json.loads(json.dumps(state, allow_nan=False)) == state
    except (TypeError, ValueError, RecursionError):
        return False
