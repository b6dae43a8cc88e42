"""The picture of all points: a row for each, a panel for each measure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from vaeflow.commands.studies.report import axes as drawing
from vaeflow.commands.studies.report import findings
from vaeflow.commands.studies.report.findings import Point

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_MOST = 40  # Rows.
_ROW, _TITLE, _REST = 0.28, 0.85, 0.4  # Inches: of a row, of a panel's title and axis, of the note.


def draw(found: Sequence[Point], columns: Sequence[str]) -> Figure:
    """Draws the points.

    Args:
      found: points that have measured something.
      columns: the measures, each of which a point has.
    """
    shown = found[:_MOST]
    pairs = _pairs(shown)
    made, panels = drawing.figure_of_panels(len(columns), _ROW * len(shown) + _TITLE, _REST, sharey=True)
    for name, panel in zip(columns, panels, strict=True):
        for row, point in enumerate(shown):
            if name in point.measures:
                drawing.mark(panel, row, point, name, pairs[row], sideways=True)
        panel.set_xlim(*drawing.limits(shown, name))
        panel.set_title(drawing.title(name), loc="left")
        panel.locator_params(axis="x", nbins=4)
    panels[0].set_yticks(range(len(shown)), [drawing.shortened(point.label) for point in shown])
    panels[0].set_ylim(len(shown) - 0.4, -0.6)
    left_out = len(found) - len(shown)
    drawing.note(made, shown, columns, f"The tables have {left_out} more points." if left_out else "")
    return made


def _pairs(shown):
    """Chooses colour and mark of each point by the first setting that is no number, e.g. the model."""
    kinds = [
        name
        for name in findings.settings(shown)
        if any(isinstance(findings.value_of(point.settings.get(name, "0")), str) for point in shown)
    ]
    texts = [point.settings.get(kinds[0], "") if kinds else "" for point in shown]
    order = list(dict.fromkeys(texts))
    told_apart = len(order) <= len(drawing.COLOURS)
    return [drawing.pair(order.index(text) if told_apart else 0) for text in texts]
