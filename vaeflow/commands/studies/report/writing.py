"""Writes the report of a study: tables after each run, pictures and the HPARAMS page at its end."""

import collections
import pathlib
import sys
import typing
from collections.abc import Mapping, Sequence
from typing import Any

from vaeflow.commands.studies.outcomes import Outcome, State
from vaeflow.commands.studies.report import choices, findings, page, pictures, tables, traversals
from vaeflow.commands.studies.report.choices import Choices
from vaeflow.runs import files, json_files
from vaeflow.runs.escaping import printable

_MOST_BEST = 5
_PICTURES = "pictures"


def write_tables(
    folders: Sequence[pathlib.Path],
    name: str,
    outcomes: Sequence[Outcome],
    chosen: Choices,
    command: str | None = None,
    pictures_of_page: Sequence[str] = (),
) -> None:
    """Writes `study.csv`, `study_runs.csv`, `study.json` and `study.md`.

    Args:
      folders: each gets them; folders that exist.
      name: of the study.
      outcomes: of all its runs, in any order.
      chosen: what the page shows.
      command: the command line of the study, without paths of the machine.
      pictures_of_page: paths of pictures in each folder, for the page.

    Raises:
      EnvironmentFailure: the disk failed.
    """
    found = findings.points(outcomes)
    metric = choices.metric(chosen, findings.measures(found))
    best = choices.ranked(found, metric, chosen.minimizes)[:_MOST_BEST]
    facts = _facts(name, command, outcomes, found, metric, chosen)
    for folder in folders:
        files.write_text(folder / "study.csv", tables.of_points(found))
        files.write_text(folder / "study_runs.csv", tables.of_runs(found))
        json_files.write(folder / "study.json", tables.as_dict(found, best, facts), ascii_only=False)
        files.write_text(
            folder / "study.md", page.markdown_page(found, best, chosen, facts, pictures_of_page)
        )


def write(
    folders: Sequence[pathlib.Path],
    name: str,
    outcomes: Sequence[Outcome],
    chosen: Choices,
    command: str | None = None,
    *,
    runs: Mapping[str, pathlib.Path],
) -> None:
    """Writes the tables with the pictures, and in the first folder the HPARAMS page of TensorBoard.

    Without matplotlib there are no pictures, and a line says so.

    Args:
      folders, name, outcomes, chosen, command: see `write_tables`.
      runs: name of a run -> its work folder, for the traversals of the best runs.

    Raises:
      EnvironmentFailure: the disk failed.
    """
    from vaeflow.commands.studies.report import hparams  # Slow to import.

    found = findings.points(outcomes)
    measures = findings.measures(found)
    columns = choices.columns(chosen, measures)
    hparams.write(folders[0], found, columns)
    drawn = _measures_drawn(found, columns)
    if (metric := choices.metric(chosen, measures)) is not None:
        ranked = choices.ranked(found, metric, chosen.minimizes)
        drawn |= traversals.draw(found, ranked, metric, runs)
    for folder in folders:
        with files.staging(folder, _PICTURES) as unfinished:
            for file, content in drawn.items():
                (unfinished / file).write_bytes(content)
            files.move(unfinished, folder / _PICTURES)
    write_tables(folders, name, outcomes, chosen, command, [f"{_PICTURES}/{file}" for file in drawn])
    print(printable(f"written to {folders[0]}: study.md, study.csv, study.json, {hparams.FOLDER}/"))


def _measures_drawn(found, columns):
    if pictures.are_possible():
        return pictures.draw(found, columns)
    print("left out: the pictures of the measures; they need pip install 'vaeflow[study]'", file=sys.stderr)
    return {}


def _facts(name, command, outcomes, found, metric, chosen) -> dict[str, Any]:
    """Collects what `study.json` says of the study as a whole."""
    states = collections.Counter(outcome.state for outcome in outcomes)
    records = [outcome.record for outcome in outcomes if outcome.record]
    return {
        "name": name,
        "command": command,
        "metric": metric,
        "direction": "minimize" if chosen.minimizes else "maximize",
        "columns": choices.columns(chosen, findings.measures(found)),
        "states": {state: states[state] for state in typing.get_args(State)},
        "seconds": sum(each.seconds or 0.0 for point in found for each in point.findings),
        "made_with": {
            "vaeflow": _different(_version(record) for record in records),
            "revision": _different(record.get("revision") for record in records),
            "machine": _different(_machine(record) for record in records),
        },
    }


def _different(texts):
    return list(dict.fromkeys(str(text) for text in texts if text))


def _version(record):
    return (record.get("versions") or {}).get("vaeflow")


def _machine(record):
    machine = record.get("machine") or {}
    cores = machine.get("cores")
    parts = [machine.get("processor"), f"{cores} core{'' if cores == 1 else 's'}" if cores else None]
    parts += machine.get("gpus") or []
    return ", ".join(str(part) for part in parts if part)
