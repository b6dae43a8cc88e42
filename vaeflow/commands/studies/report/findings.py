"""What a study found, from its outcomes: the measures of each run, and their spread at each point."""

import ast
import collections
import dataclasses
from collections.abc import Sequence
from typing import Any

from vaeflow.commands.studies.outcomes import Outcome
from vaeflow.commands.studies.report import spreads
from vaeflow.commands.studies.report.spreads import Spread

# Sums of squares of larger ones, and the axes of pictures, would not be finite.
_LARGEST = 1e150
# Of the result of a training; what says nothing of the model.
_NO_MEASURES = ("step", "examples_seen", "wall_seconds", "num_replicas")


@dataclasses.dataclass(frozen=True)
class Finding:
    """What a run has measured.

    Attributes:
      outcome: how the run ended.
      measures: name -> value, of the training's result, the evaluation and `study.compare`; empty if it is
        not done.
      seconds: how long it trained, None where that is unknown.
    """

    outcome: Outcome
    measures: dict[str, float]
    seconds: float | None

    @property
    def name(self) -> str:
        """The name of the run."""
        return self.outcome.run.name

    @property
    def seed(self) -> int:
        """The seed of the run."""
        return self.outcome.run.seed


@dataclasses.dataclass(frozen=True)
class Point:
    """A point of the grid: its settings, and the runs of its seeds.

    Attributes:
      index: its number in the grid.
      settings: name of a setting -> gin text of its value.
      findings: of its runs, in the order of their seeds.
      measures: name -> the spread over the seeds that have the measure.
      seconds: the spread of the time of training over the runs that are done; None if none is.
    """

    index: int
    settings: dict[str, str]
    findings: tuple[Finding, ...]
    measures: dict[str, Spread]
    seconds: Spread | None

    @property
    def label(self) -> str:
        """The settings in short, e.g. `BetaVAE, beta=4`."""
        return label(self.settings)

    def values(self, name: str) -> list[float]:
        """The values of a measure, of the seeds that have it."""
        return [each.measures[name] for each in self.done() if name in each.measures]

    def done(self) -> tuple[Finding, ...]:
        """The runs that are done."""
        return tuple(each for each in self.findings if each.outcome.state == "done")


def points(outcomes: Sequence[Outcome]) -> list[Point]:
    """Returns the points of the grid in its order, from the outcomes of all runs in any order."""
    runs = collections.defaultdict(list)
    for outcome in outcomes:
        runs[outcome.run.index].append(_finding(outcome))
    return [_point(index, sorted(runs[index], key=lambda each: each.seed)) for index in sorted(runs)]


def settings(found: Sequence[Point]) -> list[str]:
    """Returns every setting that a point has, in the order in which they first appear."""
    return list(dict.fromkeys(name for point in found for name in point.settings))


def measures(found: Sequence[Point]) -> list[str]:
    """Returns every measure that a run has, in the order in which they first appear."""
    return list(dict.fromkeys(name for point in found for name in point.measures))


def value_of(text: str) -> Any:
    """Returns the value of a setting where it is a literal, e.g. a number; otherwise its gin text."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return text


def shown_value(text: str) -> str:
    """Returns the gin text of a value for the eye: without the mark of a reference, and without quotes."""
    value = value_of(text)
    return (
        value if isinstance(value, str) and value is not text else text.removeprefix("@").removesuffix("()")
    )


def short_names(names: Sequence[str]) -> dict[str, str]:
    """Returns the setting -> its name without what stands before the last dot, unless two would be alike."""
    short = {name: name.rpartition(".")[2] for name in names}
    alike = collections.Counter(short.values())
    return {name: text if alike[text] == 1 else name for name, text in short.items()}


def label(chosen: dict[str, str]) -> str:
    """Writes the settings of a point in short: a class by its name alone, e.g. `BetaVAE, beta=4`."""
    short = short_names(list(chosen))
    parts = [
        shown_value(text) if text.startswith("@") else f"{short[name]}={shown_value(text)}"
        for name, text in chosen.items()
    ]
    return ", ".join(parts) or "as configured"


def _finding(outcome):
    record = outcome.record or {}
    seconds = record.get("seconds", outcome.seconds)
    return Finding(outcome, measures_of(record), seconds if _is_figure(seconds) else None)


def measures_of(record: dict[str, Any]) -> dict[str, float]:
    """Returns what a record says was measured: in the training, in the evaluation, and by comparison."""
    trained, evaluation = record.get("metrics"), record.get("evaluation")
    found = {name: value for name, value in (trained or {}).items() if name not in _NO_MEASURES}
    found |= (evaluation or {}).get("metrics") or {}
    found |= record.get("compared") or {}
    return {name: float(value) for name, value in found.items() if _is_figure(value)}


def _is_figure(value):
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= _LARGEST


def _point(index, runs):
    values, seconds = collections.defaultdict(list), []
    for each in runs:
        if each.outcome.state != "done":
            continue
        for name, value in each.measures.items():
            values[name].append(value)
        if each.seconds is not None:
            seconds.append(each.seconds)
    found = {name: spreads.spread_of(each) for name, each in values.items()}
    time = spreads.spread_of(seconds) if seconds else None
    return Point(index, runs[0].outcome.run.bindings, tuple(runs), found, time)
