"""Checks for values where they enter: what arrived, what was expected, what to do.

Each check takes the setting's name as a user writes it, e.g. `VAE.num_latents`, and the value that
arrived. It returns the value, or raises a `ValueError` that names both.
"""

import numbers
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeGuard, TypeVar

from vaeflow.runs import paths

T = TypeVar("T")

# TensorFlow's shapes and indices have 32 bits in places; steps and bytes are counted in float64 and JSON.
LARGEST_SIZE = 2**31 - 1
LARGEST_COUNT = 2**53
# Of a float32; above it, a weight or a learning rate is infinite.
LARGEST_NUMBER = 3.4028234e38

# The weight of a term: a number, or a function of the step (an int or a scalar tensor).
Weight = float | Callable[[Any], Any]
# How far draws of latents spread: a number, or one for each group of latents that a dict names.
Temperature = float | Mapping[str, float]


def boolean(name: str, value: object) -> bool:
    """Returns `value` if it is True or False; 1 and 0.0, which are equal to them, are refused."""
    if not isinstance(value, bool):
        raise ValueError(f"`{name}` must be True or False, got {value!r}")
    return value


def positive_integer(name: str, value: object, most: int = LARGEST_SIZE) -> int:
    """Returns `value` if it is an integer from 1 to `most`."""
    if not _is_integer(value) or value < 1:
        raise ValueError(f"`{name}` must be a positive integer, got {value!r}; set `{name}` to 1 or more")
    return _bounded(name, int(value), most)


def positive_count(name: str, value: object) -> int:
    """Returns `value` if it is a positive integer; steps and bytes may be more than sizes."""
    return positive_integer(name, value, LARGEST_COUNT)


def non_negative_integer(name: str, value: object) -> int:
    """Returns `value` if it is an integer of at least 0."""
    if not _is_integer(value) or value < 0:
        raise ValueError(f"`{name}` must be an integer of at least 0, got {value!r}")
    return _bounded(name, int(value), LARGEST_COUNT)


def seed(name: str, value: object) -> int:
    """Returns `value` if it is an integer from 0 to 2**32 - 1, the seeds that NumPy takes."""
    checked = non_negative_integer(name, value)
    if checked >= 2**32:
        raise ValueError(f"`{name}` must be below 2**32, got {checked}")
    return checked


def positive_number(name: str, value: object) -> float:
    """Returns `value` as a float if it is finite and above 0."""
    if not _is_number(value) or not value > 0:
        raise ValueError(f"`{name}` must be a number above 0, got {_said(value)}")
    return float(value)


def temperature(name: str, value: Any) -> Temperature:
    """Returns `value` if it is a number above 0, or a dict of such numbers, group of latents -> number."""
    if _is_mapping(value):
        return {group: positive_number(f"{name}[{group!r}]", each) for group, each in value.items()}
    return positive_number(name, value)


def non_negative_number(name: str, value: object) -> float:
    """Returns `value` as a float if it is finite and at least 0."""
    if not _is_number(value) or not value >= 0:
        raise ValueError(f"`{name}` must be a number of at least 0, got {_said(value)}")
    return float(value)


def finite_number(name: str, value: object) -> float:
    """Returns `value` as a float if it is finite."""
    if not _is_number(value):
        raise ValueError(f"`{name}` must be a finite number, got {_said(value)}")
    return float(value)


def fraction(name: str, value: object) -> float:
    """Returns `value` as a float if it is in [0, 1)."""
    if not _is_number(value) or not 0 <= value < 1:
        raise ValueError(f"`{name}` must be a number in [0, 1), got {value!r}")
    return float(value)


def share(name: str, value: object) -> float:
    """Returns `value` as a float if it is above 0 and at most 1."""
    if not _is_number(value) or not 0 < value <= 1:
        raise ValueError(f"`{name}` must be a number above 0 and at most 1, got {value!r}")
    return float(value)


def probability(name: str, value: object) -> float:
    """Returns `value` as a float if it is in [0, 1]."""
    if not _is_number(value) or not 0 <= value <= 1:
        raise ValueError(f"`{name}` must be a probability in [0, 1], got {value!r}")
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
        check_attributes(value)
        return value
    if not _is_number(value) or not value >= 0:
        raise ValueError(
            f"`{name}` must be a number of at least 0, got {_said(value)}; a schedule such as "
            "@LinearSchedule() works as well"
        )
    return float(value)


def check_attributes(owner: object) -> None:
    """Checks the hyperparameters of an optimizer or schedule of Keras, which takes any number.

    Args:
      owner: the object; its attributes of the usual names are checked.

    Raises:
      ValueError: one of them would make the training meaningless, e.g. a negative learning rate.
    """
    for attribute, check in _ATTRIBUTES.items():
        value = getattr(owner, attribute, None)
        if value is not None:
            check(f"{type(owner).__name__}.{attribute}", value)


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


def text(name: str, value: object) -> str:
    """Returns `value` if it is a text that is not empty."""
    if not isinstance(value, str) or not value:
        raise ValueError(f"`{name}` must be a text that is not empty, got {_shown(value)}")
    return value


def texts(name: str, values: object) -> tuple[str, ...]:
    """Returns a tuple of a text, or of the texts in a list or tuple; an empty text is refused."""
    found = (values,) if isinstance(values, str) else values
    if not _is_list(found) or not all(isinstance(each, str) and each for each in found):
        raise ValueError(f"`{name}` must be a text or a list of texts, got {values!r}")
    return tuple(found)


def size_or_sizes(name: str, value: Any) -> tuple[int, ...]:
    """Returns a tuple of a positive integer, or of those in a list of one or more."""
    if not _is_list(value):
        return (positive_integer(name, value),)
    sizes = positive_integers(name, value)
    if not sizes:
        raise ValueError(f"`{name}` must be a number, or a list with one for each factor, got {value!r}")
    return sizes


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


def _non_negative_numbers(name: str, values: object) -> None:
    for value in values if _is_list(values) else [values]:
        non_negative_number(name, value)


# Attribute of Keras' optimizers and schedules -> its check. Their learning rate is a variable or a schedule.
_ATTRIBUTES: dict[str, Callable[[str, object], object]] = {
    "beta_1": fraction,
    "beta_2": fraction,
    "rho": fraction,
    "momentum": fraction,
    "epsilon": non_negative_number,
    "weight_decay": non_negative_number,
    "initial_accumulator_value": non_negative_number,
    "initial_learning_rate": non_negative_number,
    "end_learning_rate": non_negative_number,
    "warmup_target": non_negative_number,
    "warmup_steps": non_negative_number,
    "decay_steps": positive_number,
    "decay_rate": positive_number,
    "alpha": non_negative_number,
    "power": positive_number,
    "boundaries": _non_negative_numbers,
    "values": _non_negative_numbers,
}


def _bounded(name: str, value: int, most: int) -> int:
    if value > most:
        raise ValueError(f"`{name}` must be at most {most:,}, got {_shown(value)}")
    return value


def _said(value: object) -> str:
    """Describes a number that is refused; only of a large one it isn't plain why."""
    is_large = isinstance(value, numbers.Real) and _magnitude(value) > LARGEST_NUMBER
    return f"{_shown(value)}; the largest number is {LARGEST_NUMBER:.1e}" if is_large else repr(value)


def _shown(value: object) -> str:
    if not _is_integer(value):
        return repr(value)
    # Python refuses to write out integers of thousands of digits.
    return f"{value:,}" if value.bit_length() < 400 else f"about 2**{value.bit_length()}"


def _is_list(values: object) -> TypeGuard[Sequence[Any]]:
    return isinstance(values, (list, tuple))


def _is_mapping(value: object) -> TypeGuard[Mapping[Any, Any]]:
    return isinstance(value, Mapping)


def _is_integer(value: object) -> TypeGuard[int]:
    return not isinstance(value, bool) and isinstance(value, numbers.Integral)


def _is_number(value: object) -> TypeGuard[float]:
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        return False
    return _magnitude(value) <= LARGEST_NUMBER  # False for NaN.


def _magnitude(value: numbers.Real) -> float:
    # Typeshed's `Real` knows no order.
    return abs(value)  # pyright: ignore[reportReturnType]
