"""The page of a study in Markdown: the chosen measures, the best runs, the failures, the pictures."""

from collections.abc import Sequence
from typing import Any

from vaeflow.commands.studies.report import choices, findings, spreads, tables
from vaeflow.commands.studies.report.choices import Choices
from vaeflow.commands.studies.report.findings import Finding, Point
from vaeflow.runs.escaping import code, markdown

_SETTINGS = 3  # With a column each.
_COLUMNS = 3  # Of one table, besides the settings: with interval a figure is wide.
_MESSAGE = 300  # Letters of a failure's message.


def markdown_page(
    found: Sequence[Point],
    best: Sequence[Finding],
    chosen: Choices,
    facts: dict[str, Any],
    pictures: Sequence[str] = (),
) -> str:
    """Writes the page.

    Args:
      found: the points of the study.
      best: its best runs, the best first.
      chosen: what is shown.
      facts: of the study as a whole, as `study.json` has them.
      pictures: paths of pictures, relative to the page.
    """
    measures = findings.measures(found)
    parts = [f"# {markdown(facts['name'])}", _summary(found, facts)]
    columns = choices.columns(chosen, measures)
    parts += tables_of_points(found, columns)
    if columns:
        parts.append(_EXPLANATION.format(confidence=spreads.CONFIDENCE))
    if missing := choices.unknown(chosen, measures):
        parts.append(f"No run has measured {', '.join(map(code, missing))}.")
    if best:
        parts += ["## Best runs", _best(found, best, facts)]
    if failed := tables.failures(found):
        parts += ["## Failures", _failures(failed)]
    if pictures:
        parts += ["## Pictures", *(f"![{markdown(name)}]({name})" for name in pictures)]
    return "\n\n".join(parts) + "\n"


_EXPLANATION = """\
Mean ± standard deviation over the seeds, and in brackets Student's t interval of the mean
({confidence:.0%}); of one seed the figure alone. [study.csv](study.csv) has every measure,
[study_runs.csv](study_runs.csv) every run."""


def _summary(found, facts):
    states = facts["states"]
    seeds = sorted({each.seed for point in found for each in point.findings})
    ended = ", ".join(f"{count} {state}" for state, count in states.items() if count)
    text = (
        f"{_counted(sum(states.values()), 'run')}: {_counted(len(found), 'point')}, "
        f"{'seed' if len(seeds) == 1 else 'seeds'} {', '.join(map(str, seeds))}; {ended}. "
        f"Training took {duration(facts['seconds'])} in all."
    )
    where = [
        f"{name} {', '.join(map(markdown, values))}" for name, values in facts["made_with"].items() if values
    ]
    return text + (f" {'; '.join(where)}." if where else "")


def tables_of_points(found: Sequence[Point], columns: Sequence[str]) -> list[str]:
    """Writes a table with a row for each point; several if there are many measures, of a few each."""
    starts = range(0, len(columns), _COLUMNS) or [0]
    return [_table(found, columns[first : first + _COLUMNS]) for first in starts]


def _table(found, columns):
    names = findings.settings(found)
    titles = [choices.title(name) for name in columns]
    heads = [markdown(name) + (f"<br>{markdown(how)}" if how else "") for name, how in titles]
    shown = [[point.measures.get(name) for point in found] for name in columns]
    digits = [spreads.decimals([spread for spread in column if spread]) for column in shown]
    # Grids that follow one another have different settings: a column for each would be half empty.
    in_columns = 0 < len(names) <= _SETTINGS and all(point.settings.keys() == set(names) for point in found)
    lines = [[*(map(markdown, names) if in_columns else ["point"]), "seeds", *heads, "time"]]
    for row, point in enumerate(found):
        figures = [
            spreads.written(column[row], places) if column[row] else "–"
            for column, places in zip(shown, digits, strict=True)
        ]
        values = (
            [findings.shown_value(point.settings[name]) for name in names] if in_columns else [point.label]
        )
        time = duration(point.seconds.mean) if point.seconds else "–"
        lines.append([*map(markdown, values), _seeds(point), *figures, time])
    return rows(lines)


def _seeds(point):
    done, every = len(point.done()), len(point.findings)
    return str(done) if done == every else f"{done} of {every}"


def _best(found, best, facts):
    name, index = facts["metric"], {each.name: point for point in found for each in point.findings}
    digits = spreads.decimals([spreads.spread_of([each.measures[name]]) for each in best])
    lines = [["", "point", "seed", markdown(name), "run"]]
    for place, each in enumerate(best, 1):
        value = spreads.number(each.measures[name], digits)
        lines.append(
            [str(place), markdown(index[each.name].label), str(each.seed), value, markdown(each.name)]
        )
    better = "lowest" if facts["direction"] == "minimize" else "highest"
    return f"The {better} {code(name)}:\n\n{rows(lines)}"


def _failures(failed):
    lines = [["run", "exit code", "message"]]
    for each in failed:
        code = each.outcome.exit_code
        message = markdown((each.outcome.message or "")[:_MESSAGE])
        lines.append([markdown(each.name), "–" if code is None else str(code), message])
    return rows(lines)


def rows(lines: Sequence[Sequence[str]]) -> str:
    """Writes a table, the first line as its head."""
    head, *others = [f"| {' | '.join(line)} |" for line in lines]
    return "\n".join([head, "|" + "---|" * len(lines[0]), *others])


def duration(seconds: float) -> str:
    """Writes a time as a reader says it: `37 s`, `12 min`, `2 h 31 min`."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60} min"


def _counted(number, noun):
    return f"{number:,} {noun}" + ("" if number == 1 else "s")
