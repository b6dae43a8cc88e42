"""The horizontal axis of a setting: numbers in their distances, everything else side by side."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from vaeflow.commands.studies.report import findings

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_MOST_TICKS = 8
_MOST_LETTERS = 60  # Of all labels below one panel: longer ones are turned.
# From which ratio on the largest and the smallest number would not both be seen on a linear axis.
_FAR_APART = 8
# How far the marks of one value are spread, as a share of the distance of two values.
_SPREAD_OF_NUMBERS, _SPREAD_OF_OTHERS = 0.24, 0.6


@dataclasses.dataclass(frozen=True)
class Scale:
    """The axis of a setting.

    Attributes:
      places: gin text of a value -> its place, whose distances are those that are seen: of a logarithmic
        axis the logarithm of the value.
      labels: gin text of a value -> how it is written.
      of_numbers: whether a line through the marks means something.
      is_logarithmic: whether places are logarithms to the base 10.
    """

    places: dict[str, float]
    labels: dict[str, str]
    of_numbers: bool
    is_logarithmic: bool = False

    def place(self, text: str, number: int = 0, count: int = 1) -> float:
        """Returns the place of the mark of one of `count` groups, on the axis of matplotlib."""
        sorted_places = sorted(self.places.values())
        gaps = [right - left for left, right in itertools.pairwise(sorted_places)]
        spread = (_SPREAD_OF_NUMBERS if self.of_numbers else _SPREAD_OF_OTHERS) * min(gaps, default=1.0)
        place = self.places[text] + spread * ((number + 0.5) / count - 0.5)
        return 10.0**place if self.is_logarithmic else place

    def set_on(self, panel: Axes) -> None:
        """Gives a panel this axis."""
        if self.is_logarithmic:
            panel.set_xscale("log")
        if len(self.places) > _MOST_TICKS and self.of_numbers:
            return
        places = [self.place(text) for text in self.places]
        turned = {"rotation": 30, "ha": "right", "rotation_mode": "anchor"}
        is_long = sum(map(len, self.labels.values())) > _MOST_LETTERS / 2
        panel.set_xticks(places, list(self.labels.values()), **(turned if is_long else {}))
        panel.minorticks_off()


def scale_of(texts: Sequence[str]) -> Scale:
    """Chooses the axis.

    Args:
      texts: gin texts of the values of a setting, in the order of the grid.
    """
    labels = {text: findings.shown_value(text) for text in texts}
    values = {text: findings.value_of(text) for text in texts}
    if not all(isinstance(value, int | float) and not isinstance(value, bool) for value in values.values()):
        return _side_by_side(list(values), labels)
    numbers = {text: float(value) for text, value in values.items()}
    sizes = [abs(value) for value in numbers.values() if value]
    if len(sizes) < 2 or max(sizes) < _FAR_APART * min(sizes):
        return Scale(numbers, labels, of_numbers=True)
    if min(numbers.values()) > 0:
        logarithms = {text: math.log10(value) for text, value in numbers.items()}
        return Scale(logarithms, labels, of_numbers=True, is_logarithmic=True)
    return _side_by_side(sorted(numbers, key=numbers.__getitem__), labels, of_numbers=True)


def _side_by_side(texts, labels, of_numbers=False):
    places = {text: float(place) for place, text in enumerate(texts)}
    return Scale(places, {text: labels[text] for text in texts}, of_numbers)
