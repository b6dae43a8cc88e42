"""Checks for values where they enter: what arrived, what was expected, what to do.

Each check takes the setting's name as a user writes it, e.g. `VAE.num_latents`, and the value that
arrived. It returns the value, or raises a `ValueError` that names both.
"""

import numbers
import pathlib
from collections.abc import Callable, Sequence
from typing import Any, TypeGuard, TypeVar

from vaeflow.runs import paths

T = TypeVar("T")

# The weight of a term: a number, or a function of the step (an int or a scalar tensor).
Weight = float | Callable[[Any], Any]


def boolean(name: str, value: object) -> bool:
    """Returns `value` if it is True or False; 1 and 0.0, which are equal to them, are refused."""
    if not isinstance(value, bool):
        raise ValueError(f"`{name}` must be True or False, got {value!r}")
    return value


def positive_integer(name: str, value: object) -> int:
    """Returns `value` if it is an integer of at least 1."""
    if not _is_integer(value) or value < 1:
        raise ValueError(f"`{name}` must be a positive integer, got {value!r}; set `{name}` to 1 or more")
    return int(value)


def non_negative_integer(name: str, value: object) -> int:
    """Returns `value` if it is an integer of at least 0."""
    if not _is_integer(value) or value < 0:
        raise ValueError(f"`{name}` must be an integer of at least 0, got {value!r}")
    return int(value)


def seed(name: str, value: object) -> int:
    """Returns `value` if it is an integer from 0 to 2**32 - 1, the seeds that NumPy takes."""
    checked = non_negative_integer(name, value)
    if checked >= 2**32:
        raise ValueError(f"`{name}` must be below 2**32, got {checked}")
    return checked


def positive_number(name: str, value: object) -> float:
    """Returns `value` as a float if it is above 0."""
    if not _is_number(value) or not value > 0:
        raise ValueError(f"`{name}` must be a number above 0, got {value!r}")
    return float(value)


def non_negative_number(name: str, value: object) -> float:
    """Returns `value` as a float if it is at least 0."""
    if not _is_number(value) or not value >= 0:
        raise ValueError(f"`{name}` must be a number of at least 0, got {value!r}")
    return float(value)


def fraction(name: str, value: object) -> float:
    """Returns `value` as a float if it is in [0, 1)."""
    if not _is_number(value) or not 0 <= value < 1:
        raise ValueError(f"`{name}` must be a number in [0, 1), got {value!r}")
    return float(value)


def weight(name: str, value: Any) -> Weight:
    """Returns `value` if it can weight a term of a loss.

    Args:
      name: the setting.
      value: a number of at least 0, or a schedule: a callable that takes the step.

    Returns:
      A float, or the schedule as it is.

    Raises:
      ValueError: it is neither, or it is the class of a schedule instead of a schedule.
    """
    if isinstance(value, type):
        raise ValueError(
            f"`{name}` must be a number or a schedule, got the class {value.__name__}; "
            f"in a gin file write {name} = @{value.__name__}() with parentheses"
        )
    if callable(value):
        return value
    if not _is_number(value) or not value >= 0:
        raise ValueError(
            f"`{name}` must be a number of at least 0, got {value!r}; a schedule such as "
            "@LinearSchedule() works as well"
        )
    return float(value)


def path(name: str, value: object) -> pathlib.Path:
    """Returns `value` as a path of this machine's file system, with `~` expanded."""
    try:
        return paths.local(value)
    except ValueError as error:
        raise ValueError(f"`{name}` must be a local path, got {paths.shown(value)!r}: {error}") from error


def one_of(name: str, value: T, choices: Sequence[T]) -> T:
    """Returns `value` if it is among `choices`."""
    if value not in choices:
        listed = ", ".join(repr(choice) for choice in choices)
        raise ValueError(f"`{name}` must be one of {listed}; got {value!r}")
    return value


def positive_integers(name: str, values: object) -> tuple[int, ...]:
    """Returns a tuple of the positive integers in a list or tuple."""
    if not _is_list(values):
        raise ValueError(f"`{name}` must be a list of positive integers, got {values!r}")
    return tuple(positive_integer(name, value) for value in values)


def list_of(name: str, values: Any, expected_class: type[T], example: str) -> list[T]:
    """Returns a list of the objects in a list or tuple.

    Args:
      name: the setting.
      values: what arrived.
      expected_class: the class of every object, e.g. `Callback`.
      example: what a gin file may say, e.g. `"[@Progress(), @Checkpoints()]"`.

    Raises:
      ValueError: it is no list, or one of its objects is something else, such as the class itself.
    """
    if not _is_list(values) or not all(isinstance(each, expected_class) for each in values):
        raise ValueError(
            f"`{name}` must be a list of {expected_class.__name__}s, got {values!r}; "
            f"in a gin file write {name} = {example} with brackets and parentheses"
        )
    return list(values)


def _is_list(values: object) -> TypeGuard[Sequence[Any]]:
    return isinstance(values, (list, tuple))


def _is_integer(value: object) -> TypeGuard[int]:
    return not isinstance(value, bool) and isinstance(value, numbers.Integral)


def _is_number(value: object) -> TypeGuard[float]:
    return not isinstance(value, bool) and isinstance(value, numbers.Real)
