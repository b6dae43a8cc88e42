"""The sums of what the steps since the last log measured."""

from __future__ import annotations

import dataclasses
import math
from typing import Any


@dataclasses.dataclass(frozen=True)
class Totals:
    """The sums over the steps of a loop so far, which may be trained in several parts.

    Each part continues the sums where the previous one ended, in the numbers' own precision,
    and only the end of the loop divides. So the means have the same bits however the loop
    was cut, and whether or not the run was stopped in between.

    Attributes:
      num_steps: the number of steps.
      seconds: how long they took.
      input_seconds: the part of it spent waiting for input.
      sums: each metric's sum, name -> float, which holds a float32 or float64 exactly;
        empty before the first step.
    """

    num_steps: int = 0
    seconds: float = 0.0
    input_seconds: float = 0.0
    sums: dict[str, float] = dataclasses.field(default_factory=dict[str, float])

    def means(self) -> dict[str, float]:
        """Returns the mean of each metric over the steps, a dict of floats."""
        return {name: total / self.num_steps for name, total in self.sums.items()}

    def to_json(self) -> dict[str, Any] | None:
        """Returns what JSON can hold: without loss, except that non-finite values become null.

        None stands for totals of no steps.
        """
        if not self.num_steps:
            return None
        sums = {name: total if math.isfinite(total) else None for name, total in self.sums.items()}
        return dataclasses.asdict(self) | {"sums": sums}

    @classmethod
    def from_json(cls, content: Any) -> Totals:
        """Makes totals from what `to_json` returned; null becomes NaN.

        Raises:
          ValueError: `content` is something else.
        """
        if content is None:
            return cls()
        try:
            sums = {name: math.nan if total is None else total for name, total in content["sums"].items()}
            totals = cls(**content | {"sums": sums})
            numbers = (totals.num_steps, totals.seconds, totals.input_seconds, *sums.values())
            if all(isinstance(number, int | float) for number in numbers):
                return totals
        except (AttributeError, KeyError, TypeError):
            pass
        raise ValueError(f"its totals are {content!r}")
