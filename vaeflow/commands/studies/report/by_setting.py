"""The picture of a setting: the measures against its values, a line for each choice of the other settings."""

from __future__ import annotations

import collections
from collections.abc import Sequence
from typing import TYPE_CHECKING

from vaeflow.commands.studies.report import axes as drawing
from vaeflow.commands.studies.report import findings, scales
from vaeflow.commands.studies.report.findings import Point

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_PANEL, _REST = 2.6, 0.6  # Inches: the height of a panel, and of legend and note.


def draw(setting: str, found: Sequence[Point], columns: Sequence[str]) -> Figure:
    """Draws the measures against a setting.

    Args:
      setting: its name.
      found: the points that have it, and have measured something.
      columns: the measures, each of which a point has.
    """
    scale = scales.scale_of([point.settings[setting] for point in found])
    groups = _groups(setting, found)
    turns = _turns(setting, groups, scale)
    told_apart = len(groups) <= len(drawing.COLOURS)
    made, panels = drawing.figure_of_panels(len(columns), _PANEL, _REST)
    for name, panel in zip(columns, panels, strict=True):
        for number, points in enumerate(groups.values()):
            having = [point for point in points if name in point.measures]
            places = [scale.place(point.settings[setting], *turns[point.index]) for point in having]
            pair = drawing.pair(number if told_apart else 0)
            for place, point in zip(places, having, strict=True):
                drawing.mark(panel, place, point, name, pair)
            if scale.of_numbers:
                means = [point.measures[name].mean for point in having]
                line = sorted(zip(places, means, strict=True))
                panel.plot([x for x, _ in line], [y for _, y in line], color=pair[0], linewidth=1.2, zorder=2)
        panel.margins(x=0.1)
        scale.set_on(panel)
        panel.set_ylim(*drawing.limits(found, name))
        panel.set_title(drawing.title(name), loc="left")
        panel.set_xlabel(drawing.shortened(setting))
    if told_apart and len(groups) > 1:
        drawing.legend(made, list(groups))
    more = "" if told_apart else "points.png says which other settings a mark has."
    drawing.note(made, found, columns, more)
    return made


def _groups(setting, found):
    """Returns the points that differ in this setting alone: label of the other settings -> points."""
    groups = collections.defaultdict(list)
    for point in found:
        others = {name: text for name, text in point.settings.items() if name != setting}
        groups[findings.label(others)].append(point)
    return groups


def _turns(setting, groups, scale):
    """Returns the place of each point among those of one value: index -> a number, and of how many.

    A line through the means keeps its place at each value; elsewhere the points of a value stand in
    its middle.
    """
    if scale.of_numbers:
        order = enumerate(groups.values())
        return {point.index: (number, len(groups)) for number, points in order for point in points}
    of_value = collections.defaultdict(list)
    for points in groups.values():
        for point in points:
            of_value[point.settings[setting]].append(point.index)
    return {
        index: (number, len(indices)) for indices in of_value.values() for number, index in enumerate(indices)
    }
