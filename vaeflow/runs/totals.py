"""What the steps since the last log measured, summed up."""

import dataclasses
import math


@dataclasses.dataclass(frozen=True)
class Totals:
    """The sums over the steps of a loop so far, which may be trained in several parts.

    Each part goes on adding where the one before ended, in the numbers' own precision,
    and only the end of the loop divides: the means have the same bits however the loop
    was cut, and whether or not the run was stopped in between.

    Attributes:
      num_steps: over how many steps.
      seconds: how long they took.
      input_seconds: how much of it was spent waiting for input.
      sums: each metric's sum, name -> float, which holds a float32 or float64 exactly;
        empty before the first step.
    """

    num_steps: int = 0
    seconds: float = 0.0
    input_seconds: float = 0.0
    sums: dict = dataclasses.field(default_factory=dict)

    def means(self):
        """Returns the mean of each metric over the steps, a dict of floats."""
        return {name: total / self.num_steps for name, total in self.sums.items()}

    def to_json(self):
        """Returns what JSON can hold, without loss but for null in place of what is not finite.

        None stands for totals of no steps.
        """
        if not self.num_steps:
            return None
        sums = {name: total if math.isfinite(total) else None for name, total in self.sums.items()}
        return dataclasses.asdict(self) | {"sums": sums}

    @classmethod
    def from_json(cls, content):
        """Makes totals of what `to_json` returned; null is NaN.

        Raises:
          ValueError: it is something else.
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
