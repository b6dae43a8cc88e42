"""The space of a search: the values that each setting of its runs may take."""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any

from vaeflow import config, registry, validation
from vaeflow.commands.studies.plan import without_macro

_FORMS = {
    "float": '("float", 0.1, 0.9) or with a step ("float", 0.1, 0.9, 0.1)',
    "log": '("log", 1.0, 16.0)',
    "int": '("int", 4, 20) or with a step ("int", 4, 20, 2)',
    "log_int": '("log_int", 8, 512)',
    "choice": '("choice", (16, 32, 64))',
}
_NAME = "study.space"


@dataclasses.dataclass(frozen=True)
class Range:
    """Numbers from `lowest` to `highest`, both included.

    Attributes:
      lowest, highest: the bounds; integers where only integers are proposed.
      is_log: whether proposals are uniform in the logarithm.
      step: the distance between neighbours; None for all floats, or all integers.
    """

    lowest: float
    highest: float
    is_log: bool = False
    step: float | None = None

    @property
    def is_integer(self) -> bool:
        """Whether it holds integers only."""
        return isinstance(self.lowest, int)

    @property
    def described(self) -> str:
        """What tells it from others."""
        numbers = f"{self.lowest!r} to {self.highest!r}"
        step = "" if self.step is None else f", step {self.step!r}"
        return numbers + step + (", logarithmic" if self.is_log else "")


@dataclasses.dataclass(frozen=True)
class Choice:
    """One of several values.

    Attributes:
      values: each as gin text.
    """

    values: tuple[str, ...]

    @property
    def described(self) -> str:
        """What tells it from others."""
        return "one of " + ", ".join(self.values)


Values = Range | Choice


def parse(space: Any, macros: Mapping[str, Any] | None = None) -> dict[str, Values]:
    """Checks a space.

    Args:
      space: setting -> a tuple that begins with `"float"`, `"log"`, `"int"`, `"log_int"` or `"choice"`, as
        `config` reads it.
      macros: name -> value.

    Returns:
      Setting -> its values, in the order of `space`.

    Raises:
      ValueError: it is something else; the message names the setting and shows what was expected.
    """
    known = functools.partial(without_macro, macros=macros or {})
    space = known(space)
    if not isinstance(space, dict) or not space:
        raise ValueError(
            f'`{_NAME}` must be a dict such as {{"BetaVAE.beta": {_FORMS["log"]}}}, got '
            f"{config.format_value(space)}"
        )
    read = dict[str, Values]()
    for setting, given in space.items():
        form = known(given)
        read[setting] = _values(setting, tuple(map(known, form)) if isinstance(form, (tuple, list)) else form)
    return read


def samples(space: Mapping[str, Values]) -> list[dict[str, str]]:
    """Returns settings that together hold each choice and each bound once: setting -> gin text."""
    texts = {
        setting: values.values if isinstance(values, Choice) else (repr(values.lowest), repr(values.highest))
        for setting, values in space.items()
    }
    return [
        {setting: each[number % len(each)] for setting, each in texts.items()}
        for number in range(max(map(len, texts.values())))
    ]


def described(space: Mapping[str, Values]) -> str:
    """Describes a space; equal spaces have equal descriptions."""
    return ", ".join(f"{setting}: {values.described}" for setting, values in space.items())


def _values(setting: Any, form: Any) -> Values:
    name = f"{_NAME}[{setting!r}]"
    if not isinstance(setting, str):
        raise ValueError(f'`{_NAME}` must name settings as text such as "BetaVAE.beta", got {setting!r}')
    if not isinstance(form, (tuple, list)) or not form or form[0] not in _FORMS:
        kind = form[0] if isinstance(form, (tuple, list)) and form else form
        near = registry.did_you_mean(kind, _FORMS) if isinstance(kind, str) else ""
        raise ValueError(f"`{name}` must be such as {', '.join(_FORMS.values())}; got {form!r}{near}")
    kind, *rest = form
    if kind == "choice":
        return _choice(name, form, rest)
    with_step = kind in ("float", "int")
    if len(rest) != 2 and not (with_step and len(rest) == 3):
        raise ValueError(f"`{name}` must be such as {_FORMS[kind]}; got {form!r}")
    numbers = [_number(name, kind, each) for each in rest]
    lowest, highest, *step = numbers
    if not lowest < highest:
        raise ValueError(f"`{name}` must have a lowest value below the highest, got {form!r}")
    is_log = kind in ("log", "log_int")
    if is_log and lowest <= 0:
        raise ValueError(f"`{name}` must have a lowest value above 0, since it is logarithmic; got {form!r}")
    if step and not 0 < step[0] <= highest - lowest:
        raise ValueError(f"`{name}` must have a step between 0 and the width of its range, got {form!r}")
    return Range(lowest, highest, is_log, *step)


def _number(name: str, kind: str, value: Any) -> float:
    number = validation.finite_number(name, value)
    if kind not in ("int", "log_int"):
        return number
    if number != int(number) or not isinstance(value, int):
        raise ValueError(f"`{name}` must have whole numbers, such as {_FORMS[kind]}; got {value!r}")
    return value


def _choice(name: str, form: Any, rest: list[Any]) -> Choice:
    if len(rest) != 1 or not isinstance(rest[0], (tuple, list)) or not rest[0]:
        raise ValueError(f"`{name}` must be such as {_FORMS['choice']}; got {form!r}")
    texts = tuple(map(config.format_value, rest[0]))
    if len(set(texts)) < len(texts):
        raise ValueError(f"`{name}` names a value twice: {form!r}")
    return Choice(texts)
