"""Checks for values where they enter: what arrived, what was expected, what to do."""

import numbers


def positive_integer(name, value):
    """Returns `value` when it is an integer of at least 1.

    Args:
      name: the setting as a user writes it, e.g. `VAE.num_latents`.
      value: what arrived.

    Raises:
      ValueError: it is not.
    """
    if isinstance(value, bool) or not isinstance(value, numbers.Integral) or value < 1:
        raise ValueError(f"`{name}` must be a positive integer, got {value!r}; set `{name}` to 1 or more")
    return int(value)


def non_negative_integer(name, value):
    """Returns `value` when it is an integer of at least 0; else raises `ValueError`."""
    if isinstance(value, bool) or not isinstance(value, numbers.Integral) or value < 0:
        raise ValueError(f"`{name}` must be an integer of at least 0, got {value!r}")
    return int(value)


def positive_number(name, value):
    """Returns `value` as a float when it is above 0; else raises `ValueError`."""
    if isinstance(value, bool) or not isinstance(value, numbers.Real) or not value > 0:
        raise ValueError(f"`{name}` must be a number above 0, got {value!r}")
    return float(value)


def non_negative_number(name, value):
    """Returns `value` as a float when it is at least 0; else raises `ValueError`."""
    if isinstance(value, bool) or not isinstance(value, numbers.Real) or not value >= 0:
        raise ValueError(f"`{name}` must be a number of at least 0, got {value!r}")
    return float(value)


def fraction(name, value):
    """Returns `value` as a float when it is in [0, 1); else raises `ValueError`."""
    if isinstance(value, bool) or not isinstance(value, numbers.Real) or not 0 <= value < 1:
        raise ValueError(f"`{name}` must be a number in [0, 1), got {value!r}")
    return float(value)


def one_of(name, value, choices):
    """Returns `value` when it is among `choices`; else raises `ValueError`."""
    if value not in choices:
        listed = ", ".join(repr(choice) for choice in choices)
        raise ValueError(f"`{name}` must be one of {listed}; got {value!r}")
    return value


def positive_integers(name, values):
    """Returns a tuple of positive integers; else raises `ValueError`."""
    if not isinstance(values, (list, tuple)):
        raise ValueError(f"`{name}` must be a list of positive integers, got {values!r}")
    return tuple(positive_integer(name, value) for value in values)
