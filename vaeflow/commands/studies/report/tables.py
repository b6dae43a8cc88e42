"""The tables of a study: CSV and JSON with every measure, and a page in Markdown with the chosen ones."""

import csv
import io
from collections.abc import Sequence
from typing import Any

from vaeflow.commands.studies.report import findings, spreads
from vaeflow.commands.studies.report.findings import Finding, Point
from vaeflow.runs import escaping


def of_points(found: Sequence[Point]) -> str:
    """Writes a table as CSV: a row for each point, and for each measure its spread over the seeds.

    The columns of a measure are its mean, deviation, the ends of its interval, and the number of seeds.
    """
    names, measures = findings.settings(found), findings.measures(found)
    parts = ("mean", "deviation", "interval low", "interval high", "seeds")
    header = ["point", *names, "runs", "done", "failed", *(f"seconds {part}" for part in parts)]
    header += [f"{name} {part}" for name in measures for part in parts]
    rows = []
    for point in found:
        figures = [point.seconds, *(point.measures.get(name) for name in measures)]
        rows.append(
            [
                point.index,
                *_settings(point.settings, names),
                len(point.findings),
                len(point.done()),
                _count(point, "failed"),
                *(cell for spread in figures for cell in _cells(spread)),
            ]
        )
    return _csv(header, rows)


def of_runs(found: Sequence[Point]) -> str:
    """Writes a table as CSV: a row for each run, with its settings and everything it has measured."""
    names, measures = findings.settings(found), findings.measures(found)
    header = ["point", "run", *names, "seed", "state", "exit code", "message", "seconds", *measures]
    rows = [
        [
            point.index,
            _text(each.name),
            *_settings(point.settings, names),
            each.seed,
            each.outcome.state,
            each.outcome.exit_code,
            _text(each.outcome.message or ""),
            each.seconds,
            *(each.measures.get(name) for name in measures),
        ]
        for point in found
        for each in point.findings
    ]
    return _csv(header, rows)


def as_dict(found: Sequence[Point], best: Sequence[Finding], facts: dict[str, Any]) -> dict[str, Any]:
    """Returns the content of `study.json`.

    Args:
      found: the points of the study.
      best: its best runs, the best first.
      facts: of the study as a whole; they come first.
    """
    return {
        **facts,
        "confidence": spreads.CONFIDENCE,
        "points": [
            {
                "index": point.index,
                "settings": point.settings,
                "runs": [_run(each) for each in point.findings],
                "seconds": _spread(point.seconds),
                "measures": {name: _spread(spread) for name, spread in point.measures.items()},
            }
            for point in found
        ],
        "best": [each.name for each in best],
        "failures": [
            {"run": each.name, "exit_code": each.outcome.exit_code, "message": each.outcome.message}
            for each in failures(found)
        ],
    }


def failures(found: Sequence[Point]) -> list[Finding]:
    """Returns the runs that failed."""
    return [each for point in found for each in point.findings if each.outcome.state == "failed"]


def _run(each):
    outcome = each.outcome
    return {
        "name": each.name,
        "seed": each.seed,
        "state": outcome.state,
        "exit_code": outcome.exit_code,
        "seconds": each.seconds,
        "measures": each.measures,
    }


def _spread(spread):
    if spread is None:
        return None
    return {
        "mean": spread.mean,
        "deviation": spread.deviation,
        "interval": None if spread.deviation is None else [spread.low, spread.high],
        "seeds": spread.num_seeds,
    }


def _count(point, state):
    return sum(each.outcome.state == state for each in point.findings)


def _cells(spread):
    if spread is None:
        return [None] * 4 + [0]
    return [spread.mean, spread.deviation, spread.low, spread.high, spread.num_seeds]


def _settings(chosen, names):
    """Writes the values of the settings, where a point has them, as gin has them."""
    return [_text(chosen[name]) if name in chosen else None for name in names]


def _text(text):
    """Makes text a cell that no spreadsheet computes; a negative number is none that it would."""
    if isinstance(findings.value_of(text), int | float):
        return text
    return escaping.cell(text, "\t")  # Commas stay: the cell is quoted.


def _csv(header, rows):
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerows([[_text(name) for name in header], *rows])
    return text.getvalue()
