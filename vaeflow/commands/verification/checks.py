"""A comparison of what a run says with what is found now, and how it came out."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable
from typing import Any

VERIFIED = "verified"
DIFFERENT = "differs"
NOT_VERIFIED = "not verified"
VERDICTS = (DIFFERENT, NOT_VERIFIED, VERIFIED)  # The worst first.


@dataclasses.dataclass(frozen=True)
class Value:
    """One value as the run recorded it, and as it was found.

    Attributes:
      name: of the value.
      recorded: a number, a text, or None if the run recorded none.
      found: likewise.
      tolerance: the largest deviation that is allowed; 0 asks for the same bits.
      scale: the size to which a deviation is relative; 0 for that of the recorded number.
    """

    name: str
    recorded: Any
    found: Any
    tolerance: float = 0.0
    scale: float = 0.0

    @property
    def deviation(self) -> float | None:
        """|found − recorded| relative to the scale; None unless both are finite numbers."""
        if not (_is_finite(self.recorded) and _is_finite(self.found)):
            return None
        difference = abs(self.found - self.recorded)
        scale = max(self.scale, abs(self.recorded))
        return difference / scale if difference and scale else float(difference > 0)

    @property
    def is_same(self) -> bool:
        """Whether both have the same bits; NaN is NaN."""
        return self.recorded == self.found or (_is_nan(self.recorded) and _is_nan(self.found))

    @property
    def agrees(self) -> bool:
        """Whether both are the same, or as near as the tolerance allows."""
        deviation = self.deviation
        return self.is_same or (self.tolerance > 0 and deviation is not None and deviation <= self.tolerance)

    def to_json(self) -> dict[str, Any]:
        """Returns what the report holds."""
        return {
            "name": self.name,
            "recorded": self.recorded,
            "found": self.found,
            "deviation": self.deviation,
            "tolerance": self.tolerance,
            "agrees": self.agrees,
        }


@dataclasses.dataclass(frozen=True)
class Check:
    """One comparison.

    Attributes:
      part: which part of the run it is about, e.g. `"data"`.
      subject: what was compared.
      verdict: one of `VERDICTS`.
      remark: how it came out, or why it could not be verified.
      values: what was compared, where it is several values.
    """

    part: str
    subject: str
    verdict: str
    remark: str
    values: tuple[Value, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Returns what the report holds."""
        content = {name: getattr(self, name) for name in ("part", "subject", "verdict", "remark")}
        return content | {"values": [value.to_json() for value in self.values]}


def compared(part: str, subject: str, values: Iterable[Value], same: str = "the same") -> Check:
    """Makes the check of values that must be the same.

    Args:
      part, subject: see `Check`.
      values: what was compared.
      same: the remark if all agree.
    """
    values = tuple(values)
    wrong = [value for value in values if not value.agrees]
    if not wrong:
        return Check(part, subject, VERIFIED, same, values)
    return Check(part, subject, DIFFERENT, described(wrong), values)


def described(wrong: list[Value], most: int = 3) -> str:
    """Says of values how they differ, for people: the first few."""
    shown = [
        f"{value.name} recorded as {shown_value(value.recorded)}, found {shown_value(value.found)}"
        for value in wrong[:most]
    ]
    more = len(wrong) - len(shown)
    return "; ".join(shown) + (f"; and {more} more" if more else "")


def shown_value(value: Any) -> str:
    """Writes a value for people: a number with its digits, a digest with its first."""
    if value is None:
        return "nothing"
    text = repr(value) if isinstance(value, float) else str(value)
    return text if len(text) < 64 or " " in text else f"{text[:16]}…"


def verdict_of(checks: Iterable[Check]) -> str:
    """Returns the verdict of all checks together: a difference if there is one, else verified."""
    return DIFFERENT if any(check.verdict == DIFFERENT for check in checks) else VERIFIED


def _is_finite(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_nan(value: Any) -> bool:
    return isinstance(value, float) and math.isnan(value)
