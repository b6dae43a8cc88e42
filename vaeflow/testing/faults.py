"""A check: a function that finds faults of a model, and an error that lists them."""

import functools
from collections.abc import Callable, Iterator
from typing import Any

Check = Callable[[Callable, tuple[int, ...]], None]


def check(doing: str) -> Callable[[Callable[..., Iterator[str]]], Check]:
    """Makes a check of a generator of faults.

    Args:
      doing: what it looks at, for people, e.g. `"the noise"`.

    Returns:
      A decorator: the check raises `AssertionError` with all faults. Its `doing` says what it does.
    """

    def decorate(find: Callable[..., Iterator[str]]) -> Check:
        @functools.wraps(find)
        def checked(factory, image_shape):
            if faults := list(_found(find, factory, tuple(image_shape))):
                raise AssertionError("\n".join(faults))

        checked.doing = doing  # pyright: ignore[reportAttributeAccessIssue]
        return checked

    return decorate


def _found(find, factory, image_shape):
    try:
        yield from find(factory, image_shape)
    except AssertionError as error:  # Of `call`: nothing further can be found.
        yield str(error)


def call(function: Callable, *arguments: Any, **named: Any) -> Any:
    """Calls what the model provides; what it raises is a fault, and ends the check."""
    try:
        return function(*arguments, **named)
    except Exception as error:
        name = getattr(function, "__name__", "the model")
        raise AssertionError(f"`{name}` fails: {type(error).__name__}: {error}") from error
