"""Mean, standard deviation and interval of a figure over seeds."""

import dataclasses
import math
import statistics
from collections.abc import Sequence

from scipy import special

CONFIDENCE = 0.95


@dataclasses.dataclass(frozen=True)
class Spread:
    """A figure over several seeds.

    Attributes:
      num_seeds: how many values there are, 1 or more.
      mean: of the values.
      deviation: their standard deviation, with n − 1 in the denominator; None for one seed.
      low, high: the ends of Student's t interval of the mean, at `CONFIDENCE`; None for one seed.
    """

    num_seeds: int
    mean: float
    deviation: float | None = None
    low: float | None = None
    high: float | None = None


def spread_of(values: Sequence[float]) -> Spread:
    """Returns the spread of the values of the seeds, of which there is at least one."""
    count, mean = len(values), statistics.fmean(values)
    if count == 1:
        return Spread(1, mean)
    deviation = statistics.stdev(values)
    quantile = float(special.stdtrit(count - 1, (1 + CONFIDENCE) / 2))  # Of Student's t.
    half = quantile * deviation / math.sqrt(count)
    return Spread(count, mean, deviation, mean - half, mean + half)


def decimals(spreads: Sequence[Spread]) -> int:
    """Returns with how many decimals a column shows its figures: two digits of the typical deviation.

    Without deviations they show four digits of the largest figure, of counts none.
    """
    deviations = [spread.deviation for spread in spreads if spread.deviation]
    if deviations:
        return _decimals_for(statistics.median(deviations), 2)
    if all(spread.mean.is_integer() for spread in spreads):
        return 0
    largest = max(abs(spread.mean) for spread in spreads)
    return _decimals_for(largest, 4)


def written(spread: Spread, digits: int) -> str:
    """Writes a spread: `105.71 ± 0.12 (105.41 to 106.01)`, or `105.71` for one seed."""
    mean = number(spread.mean, digits)
    if spread.deviation is None:
        return mean
    ends = f"{number(spread.low, digits)} to {number(spread.high, digits)}"
    return f"{mean} ± {number(spread.deviation, digits)} ({ends})"


def summary(values: Sequence[float]) -> str:
    """Writes the spread of some values, with the decimals that suit it alone."""
    spread = spread_of(values)
    return written(spread, decimals([spread]))


def number(value: float | None, digits: int) -> str:
    """Writes a number, with a minus sign that is as wide as a digit."""
    return "–" if value is None else f"{value:,.{digits}f}".replace("-", "−")


def _decimals_for(value, digits):
    """Returns the number of decimals that shows so many digits of a value, 0 to 6."""
    return min(6, max(0, digits - 1 - math.floor(math.log10(value))))
