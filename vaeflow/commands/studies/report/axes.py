"""What the pictures of a study share: style, colours, titles, marks and limits."""

from __future__ import annotations

import textwrap
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from vaeflow.commands.studies.report import choices, spreads
from vaeflow.commands.studies.report.findings import Point
from vaeflow.runs.escaping import printable

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_WIDTH = 9.0  # Inches. In the column of a README a letter of 10 points is then as large as the text.
_ACROSS = 3  # Panels side by side.
_INK, _GREY, _LINES = "#222222", "#6b7280", "#e5e7eb"
# Okabe & Ito 2008, "Color universal design": told apart with any colour vision. Without its yellow,
# which is too light for a mark on white, and its black, which is that of the text.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00")
_MARKERS = ("o", "s", "^", "D", "v", "P")
_STYLE = {
    "font.family": "DejaVu Sans",  # It comes with matplotlib.
    "font.size": 10,
    "axes.titlesize": 10,
    "axes.labelsize": 10,
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
    "legend.fontsize": 9,
    "axes.edgecolor": _GREY,
    "axes.labelcolor": _INK,
    "text.color": _INK,
    "xtick.color": _INK,
    "ytick.color": _INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": _LINES,
    "text.parse_math": False,  # A name with a dollar is shown as it is.
    "savefig.dpi": 150,
}
_LONGEST = 44  # Letters of a label.
_TITLE_LETTERS = 26  # Of a line above a panel beside the names of all points.
_LETTERS = 118  # Of a line below the panels.
# The interval of a few seeds may be many times as wide as their deviation: the values decide what is
# shown, and so much of their range on each side.
_ROOM = 0.6

Pair = tuple[str, str]


@contextmanager
def style() -> Generator[None]:
    """Draws in the style of the reports inside, whatever the user's settings of matplotlib are."""
    import matplotlib

    settings: dict[Any, Any] = {**matplotlib.rcParamsDefault, **_STYLE}
    with matplotlib.rc_context(settings):
        yield


def figure_of_panels(
    count: int, height: float, rest: float, sharey: bool = False
) -> tuple[Figure, list[Axes]]:
    """Makes a figure, which needs no display, with panels side by side and below one another.

    Args:
      count: of the panels.
      height: of each, in inches.
      rest: what the figure has above and below them, in inches.
      sharey: whether they share the vertical axis.
    """
    from matplotlib.figure import Figure

    down = -(-count // _ACROSS)
    made = Figure(figsize=(_WIDTH, down * height + rest), layout="constrained")
    grid = list(made.subplots(down, min(_ACROSS, count), sharey=sharey, squeeze=False).flat)
    for unused in grid[count:]:
        unused.set_visible(False)
    return made, grid[:count]


def pair(number: int) -> Pair:
    """Returns the colour and the mark of a group."""
    return COLOURS[number], _MARKERS[number]


def title(name: str) -> str:
    """Writes the name of a measure as a title, what stands in its brackets in a line of its own."""
    texts = [shortened(text) for text in choices.title(name) if text]
    return "\n".join(line for text in texts for line in textwrap.wrap(text, _TITLE_LETTERS))


def shortened(text: str) -> str:
    """Makes text short enough for a label."""
    line = printable(" ".join(text.split()))
    return line if len(line) <= _LONGEST else f"{line[: _LONGEST - 1]}…"


def limits(found: Sequence[Point], name: str) -> tuple[float, float]:
    """Returns the ends of the axis of a measure: with all values, and of the intervals what is near them."""
    values = [value for point in found for value in point.values(name)]
    low, high = min(values), max(values)
    room = _ROOM * (high - low) or 0.05 * abs(low) or 0.5  # Around equal values a little.
    lows, highs = zip(*_intervals(found, name), (low, high), strict=True)
    low, high = max(low - room, min(lows)), min(high + room, max(highs))
    margin = 0.08 * (high - low) or room
    return low - margin, high + margin


def mark(axes: Axes, place: float, point: Point, name: str, pair: Pair, sideways: bool = False) -> None:
    """Draws a point: its seeds small, and their mean with its interval.

    Args:
      axes: to draw on.
      place: on the axis of the settings.
      point: what is drawn.
      name: of the measure.
      pair: colour and mark.
      sideways: whether the measure is on the horizontal axis.
    """
    spread, values = point.measures[name], point.values(name)
    colour, marker = pair
    seeds, mean = (values, [place] * len(values)), (spread.mean, place)
    ends: dict[str, Any] = {}
    if spread.low is not None and spread.high is not None:
        ends["xerr" if sideways else "yerr"] = [[spread.mean - spread.low], [spread.high - spread.mean]]
    look = {"color": colour, "marker": marker, "markersize": 6, "elinewidth": 1.5, "capsize": 3}
    x, y = mean if sideways else mean[::-1]
    axes.errorbar(x, y, **look, **ends, zorder=3)
    if len(values) > 1:
        dots = {
            "markersize": 3.5,
            "markerfacecolor": "white",
            "markeredgecolor": _INK,
            "markeredgewidth": 0.8,
        }
        axes.plot(*(seeds if sideways else seeds[::-1]), "o", **dots, zorder=4)


def legend(made: Figure, labels: Sequence[str]) -> None:
    """Names the groups above the panels."""
    from matplotlib.lines import Line2D

    handles = [
        Line2D([], [], color=colour, marker=marker, label=shortened(label))
        for (colour, marker), label in zip(map(pair, range(len(labels))), labels, strict=True)
    ]
    longest = max(map(len, labels))
    made.legend(handles=handles, loc="outside upper left", ncols=max(1, 90 // (longest + 8)), frameon=False)


def note(made: Figure, found: Sequence[Point], columns: Sequence[str], more: str = "") -> None:
    """Says below the panels what the marks are.

    Args:
      made: the figure.
      found: the points that it shows.
      columns: the measures that it shows.
      more: another sentence.
    """
    counts = [point.measures[name].num_seeds for name in columns for point in found if name in point.measures]
    text = "One seed each."
    if max(counts) > 1:
        seeds = f"{min(counts)} to {max(counts)}" if min(counts) < max(counts) else str(max(counts))
        cut = ", cut where it leaves the axis" if any(_is_cut(found, name) for name in columns) else ""
        interval = f"Student's t {spreads.CONFIDENCE:.0%} interval{cut}"
        text = f"White dots: seeds. Marks: the mean of {seeds} seeds with {interval}."
    lines = textwrap.wrap(f"{text} {more}", _LETTERS)
    made.supxlabel("\n".join(lines), fontsize=9, color=_GREY)


def _intervals(found, name):
    spreads_of_name = [point.measures[name] for point in found if name in point.measures]
    return [(spread.low, spread.high) for spread in spreads_of_name if spread.deviation is not None]


def _is_cut(found, name):
    low, high = limits(found, name)
    return any(left < low or right > high for left, right in _intervals(found, name))
