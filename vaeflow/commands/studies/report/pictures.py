"""The pictures of a study as PNG files: each shown measure at each point, and against each setting."""

import importlib.util
import io
from collections.abc import Sequence

from vaeflow.commands.studies.report import axes, by_point, by_setting, findings
from vaeflow.commands.studies.report.findings import Point

_MOST_COLUMNS = 12


def are_possible() -> bool:
    """Whether matplotlib is installed, which the extra `study` brings."""
    return importlib.util.find_spec("matplotlib") is not None


def draw(found: Sequence[Point], columns: Sequence[str]) -> dict[str, bytes]:
    """Draws what was measured.

    `points.png` shows every point in a row of its own; `<setting>.png`, of each setting that has several
    values, the measures against it, with a line for each choice of the other settings.

    Args:
      found: the points of the study.
      columns: the measures to draw.

    Returns:
      Name of the file -> a PNG file; empty if nothing was measured.
    """
    measured = [name for name in columns if any(name in point.measures for point in found)][:_MOST_COLUMNS]
    shown = [point for point in found if any(name in point.measures for name in measured)]
    if not shown:
        return {}
    with axes.style():
        figures = {"points": by_point.draw(shown, measured)}
        for setting in findings.settings(shown):
            having = [point for point in shown if setting in point.settings]
            if len({point.settings[setting] for point in having}) > 1:
                columns = [name for name in measured if any(name in point.measures for point in having)]
                figures[setting.replace("/", "-")] = by_setting.draw(setting, having, columns)
        return {f"{name}.png": _png(made) for name, made in figures.items()}


def _png(made):
    content = io.BytesIO()
    made.savefig(content, format="png")
    return content.getvalue()
