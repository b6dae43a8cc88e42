"""Draws a report of a benchmark: four panels of bars, with axes and units."""

import math

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from vaeflow.profiling import report

_SIZE = (1000, 800)
_INK, _GREY, _LINES, _GROUND = "#222222", "#6b7280", "#e5e7eb", "#ffffff"
_BLUE, _ORANGE, _SLATE = "#3b70b8", "#e58f27", "#9aa3b0"
_PARTS = {"compute": _BLUE, "input": _ORANGE, "host": _SLATE}
_PANEL = (440, 320)
_TICKS = 5


def draw(found):
    """Draws a report.

    Args:
      found: the content of `benchmark.json`.

    Returns:
      uint8 `[800, 1000, 3]`.
    """
    picture = Image.new("RGB", _SIZE, _GROUND)
    canvas = ImageDraw.Draw(picture)
    _heading(canvas, found["run"])
    _Panel(canvas, (30, 122), "Where the time of a step goes", "ms per step").stacked(
        [
            (str(row["steps_per_loop"]), {part: 1000 * row["step_seconds"][part] for part in _PARTS})
            for row in found["steps_per_loop"] or [found["run"]]
            if "reason" not in row
        ],
        "steps per loop",
    )
    _Panel(canvas, (530, 122), "Compile modes", "images/s").bars(
        found["compile_modes"], "compile_mode", "compile mode"
    )
    replicas = f"{found['run']['device_kind']} replicas"
    for left, name in ((30, "strong_scaling"), (530, "weak_scaling")):
        varied, _, title = report.COMPARISONS[name]
        _Panel(canvas, (left, 462), title, "images/s").bars(found[name], varied, replicas)
    return np.asarray(picture)


def _font(size):
    return ImageFont.load_default(size=size)


def _heading(canvas, run):
    canvas.text((30, 22), report.describe(run), fill=_INK, font=_font(17))
    step = report.milliseconds(run["step_seconds"]["total"])
    lines = [
        (
            f"{run['images_per_second']['median']:,.0f} images/s, {step} ms per step, "
            f"peak memory {report.memory(run)}"
        ),
        f"arithmetic: {report.arithmetic(run)}",
    ]
    for index, line in enumerate(lines):
        canvas.text((30, 50 + 22 * index), line, fill=_GREY, font=_font(14))


class _Panel:
    """One panel: a title, an axis with its unit, and bars.

    Args:
      canvas: to draw on.
      corner: its upper left.
      title: what it shows.
      unit: of the vertical axis.
    """

    def __init__(self, canvas, corner, title, unit):
        self._canvas = canvas
        self._left, self._top = corner[0] + 52, corner[1] + 62
        self._right, self._bottom = corner[0] + _PANEL[0], corner[1] + _PANEL[1] - 52
        self._scale = 1.0
        self._text((corner[0], corner[1]), title, 16, _INK, "la")
        self._text((corner[0], corner[1] + 28), unit, 13, _GREY, "la")

    def bars(self, rows, varied, label):
        """Draws a bar for each row of a comparison, with its spread, and marks the rows that failed."""
        rates = [row["images_per_second"] for row in rows if "reason" not in row]
        self._axes(max((rate["highest"] for rate in rates), default=0.0), label)
        for row, (middle, half) in zip(rows, self._places(len(rows)), strict=True):
            self._text((middle, self._bottom + 8), str(row[varied]), 14, _INK, "ma")
            if "reason" in row:
                self._text((middle, self._bottom - 8), "not possible", 13, _GREY, "md")
                continue
            rate = row["images_per_second"]
            self._bar(middle, half, 0.0, rate["median"], _BLUE)
            self._whisker(middle, rate["lowest"], rate["highest"])
            text = f"{rate['median']:,.0f}" + (f"  ({row['efficiency']:.0%})" if "efficiency" in row else "")
            self._text((middle, self._y(rate["highest"]) - 6), text, 13, _INK, "md")

    def stacked(self, rows, label):
        """Draws a bar of parts for each row: a label and part -> value."""
        self._axes(max((sum(parts.values()) for _, parts in rows), default=0.0), label)
        for (name, parts), (middle, half) in zip(rows, self._places(len(rows)), strict=True):
            below = 0.0
            for part, colour in _PARTS.items():
                self._bar(middle, half, below, below + parts[part], colour)
                below += parts[part]
            self._text((middle, self._bottom + 8), name, 14, _INK, "ma")
            self._text((middle, self._y(below) - 6), report.milliseconds(below / 1000), 13, _INK, "md")
        self._legend()

    def _legend(self):
        right = self._right
        for part, colour in reversed(_PARTS.items()):
            right -= self._canvas.textlength(part, font=_font(13))
            self._text((right, self._top - 34), part, 13, _GREY, "la")
            self._canvas.rectangle((right - 18, self._top - 31, right - 7, self._top - 20), fill=colour)
            right -= 36

    def _axes(self, largest, label):
        if not largest:
            self._text((self._left, self._top), "not measured", 13, _GREY, "la")
            return
        step = _round_step(largest / _TICKS)
        # Room above the highest bar for its figure.
        top = step * max(1, math.ceil(1.12 * largest / step))
        self._scale = (self._bottom - self._top) / top
        for index in range(round(top / step) + 1):
            y = self._y(index * step)
            self._canvas.line((self._left, y, self._right, y), fill=_INK if index == 0 else _LINES)
            self._text((self._left - 8, y), f"{index * step:,.10g}", 13, _GREY, "rm")
        self._text(((self._left + self._right) / 2, self._bottom + 30), label, 13, _GREY, "ma")

    def _places(self, count):
        """Gives the middle and half the width of each bar."""
        width = (self._right - self._left) / max(count, 1)
        return [(self._left + width * (index + 0.5), min(0.28 * width, 40)) for index in range(count)]

    def _bar(self, middle, half, low, high, colour):
        if self._y(low) - self._y(high) >= 1:
            self._canvas.rectangle(
                (middle - half, self._y(high), middle + half, self._y(low) - 1), fill=colour
            )

    def _whisker(self, middle, low, high):
        self._canvas.line((middle, self._y(low), middle, self._y(high)), fill=_INK)
        for value in (low, high):
            self._canvas.line((middle - 5, self._y(value), middle + 5, self._y(value)), fill=_INK)

    def _text(self, place, text, size, colour, anchor):
        # In an edge of the ground's colour, or a line behind it would cross it.
        edge = {"stroke_width": 2, "stroke_fill": _GROUND}
        self._canvas.text(place, text, fill=colour, font=_font(size), anchor=anchor, **edge)

    def _y(self, value):
        return round(self._bottom - self._scale * value)


def _round_step(least):
    """Rounds a distance between ticks up to 1, 2 or 5 times a power of ten."""
    if least <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(least))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= 0.999 * least)
