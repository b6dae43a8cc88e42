"""Writes docs/results.md, and the tables of results in other pages, from the records of this folder.

    python -m results.page

Every figure on the page has its command, seeds, revision, machine, versions and time. Nobody edits it by
hand: a test compares it with the records.
"""

import argparse
import pathlib
import sys
from collections.abc import Iterable, Sequence
from typing import Any

from benchmarks import report as comparison
from results import records, tables
from results.disentanglement import agreement
from results.families import run as families
from results.hierarchy import run as hierarchy
from results.paper_scale import run as paper_scale
from results.records import Group
from results.weights import run as weights
from vaeflow.commands.studies.report import page, spreads

REPOSITORY = pathlib.Path(__file__).parents[1]
PAGE = "docs/results.md"
# Between these lines other pages have a table.
BEGIN, END = "<!-- {}, made by results.page -->\n", "<!-- end -->\n"
_NOTHING = "No run has been recorded yet."
_PACKAGES = {
    "python": "Python",
    "vaeflow": "vaeflow",
    "tensorflow": "TensorFlow",
    "keras": "Keras",
    "numpy": "NumPy",
}
_TITLES = {
    "": "Trainings",
    "families": "Families of models",
    "hierarchy": "Depth of a hierarchy",
    "tokenizers": "Tokenizers",
}

_OPENING = f"""\
# Results

Written by `python -m results.page` from the records in [results/](../results) and
[benchmarks/results.json](../benchmarks/results.json); a test compares the page with them. A figure over
several seeds is the mean ± the standard deviation, and in brackets Student's t interval of the mean
({spreads.CONFIDENCE:.0%}). Where it says *one seed*, another seed gives another figure, and nothing here says
how different."""


def make(results: pathlib.Path, benchmarks: pathlib.Path) -> str:
    """Returns the page.

    Args:
      results: the folder of the records.
      benchmarks: the JSON file of the comparison with other programs.
    """
    parts = [_OPENING]
    for folder in records.folders(results):
        if (folder / records.STUDY).exists():
            parts += _of_study(folder, results)
        elif groups := records.groups(folder):
            name = folder.relative_to(results).as_posix().replace(".", "")
            parts += [f"## {_TITLES.get(name, name)}", tables.runs_table(groups)]
            parts += [part for group in groups for part in _of_group(group)]
    parts += ["## Speed", *_of_comparison(records.read(benchmarks))]
    computed = [records.read(path) for path in sorted((results / records.PAPER_SCALE).glob("*.json"))]
    parts += [
        "## Memory of published sizes",
        _PAPER_SCALE,
        paper_scale.table(computed, paper_scale.RATE).strip(),
    ]
    return "\n\n".join(parts) + "\n"


_PAPER_SCALE = """\
`python -m results.paper_scale.run` computes what the autoencoders of latent diffusion need, and measures
small ones; no training, and no seed. [paper_scale.md](paper_scale.md) explains the tables."""


_SPEED = """\
Images/s, medians of the rounds. Time does not depend on the seed;
[benchmarks/results.md](../benchmarks/results.md) has the spread of the rounds."""


def models_tables(results: pathlib.Path) -> dict[str, str]:
    """Returns the tables of docs/models.md: name -> Markdown."""
    found = {folder.relative_to(results).as_posix(): folder for folder in records.folders(results)}
    written = {
        "runs": tables.runs_table(records.groups(results)),
        "families": _NOTHING,
        "hierarchy": _NOTHING,
        "tokenizers": _NOTHING,
        "weights": _NOTHING,
    }
    if "families" in found:
        runs = [record for group in records.groups(found["families"]) for record in group.records]
        written["families"] = families.table(runs)
    if "hierarchy" in found:
        runs = [record for group in records.groups(found["hierarchy"]) for record in group.records]
        written["hierarchy"] = hierarchy.table(runs)
    if "tokenizers" in found:
        written["tokenizers"] = tables.tokenizers_table(records.groups(found["tokenizers"]))
    if (record := results / records.WEIGHTS / weights.RECORD.name).exists():
        written["weights"] = weights.table(records.read(record))
    return written


def disentanglement_tables(results: pathlib.Path) -> dict[str, str]:
    """Returns the tables of docs/disentanglement.md: name -> Markdown."""
    facts, found = records.study(results / "disentanglement")
    return {
        "time": f"The trainings took {page.duration(facts['seconds'])} in all.",
        "points": agreement.points_tables(found),
        "shares": agreement.shares_table(found),
        "correlations": agreement.correlations_table(found, agreement.SCORES),
        "unsupervised": agreement.correlations_table(found, agreement.WITHOUT_FACTORS),
    }


# Page -> the tables that it has of a folder of records.
TABLES = {"docs/models.md": models_tables, "docs/disentanglement.md": disentanglement_tables}


def with_tables(text: str, written: dict[str, str]) -> str:
    """Returns the text of a page with tables in their places.

    Args:
      text: of the page.
      written: name -> Markdown, of each table of the page.

    Raises:
      ValueError: the page has no place for one.
    """
    for name, table in written.items():
        begin = BEGIN.format(name)
        before, _, rest = text.partition(begin)
        _, end, after = rest.partition(END)
        if not end:
            raise ValueError(
                f"the page lacks the lines {begin.strip()} and {END.strip()}, between which the table goes"
            )
        text = f"{before}{begin}{table}\n{end}{after}"
    return text


def _of_group(group: Group) -> list[str]:
    """Writes the section of a configuration: how it was made, and everything that was measured."""
    commands = "\n".join(f"    {record['command']}" for record in group.records)
    lines = [
        ["measure", "value"],
        *([f"`{name}`", tables.written(each)] for name, each in group.measures().items()),
    ]
    return [
        f"### {group.name}",
        commands,
        page.rows([["", ""], *_facts(group)]),
        page.rows(lines),
    ]


def _facts(group: Group) -> list[list[str]]:
    facts = {
        "seeds": tables.seeds(group),
        "model": group.said(lambda record: record["run"]["model"]),
        "data": group.said(lambda record: record["run"]["data"]),
        "revision": group.said(lambda record: record["revision"] or "unknown"),
        "machine": group.said(_machine),
        "versions": group.said(_versions),
        "time": tables.time(group.records),
    }
    return [[name, text.replace("|", "/")] for name, text in facts.items()]


def _of_study(folder: pathlib.Path, results: pathlib.Path) -> list[str]:
    """Writes the section of a study: a row for each point, with the measures that its own page shows."""
    facts, found = records.study(folder)
    where = f"../results/{folder.relative_to(results).as_posix()}/study"
    runs = [each for point in found for each in point.findings]
    made = [each.outcome.record for each in runs if each.outcome.record]
    made_with = {
        "seeds": ", ".join(map(str, sorted({each.seed for each in runs}))),
        "revision": _different(record["revision"] or "unknown" for record in made),
        "machine": _different(map(_machine, made)),
        "versions": _different(map(_versions, made)),
        "time": page.duration(sum(each.seconds or 0.0 for each in runs)),
    }
    return [
        f"## Study {facts['name']}",
        f"    {facts['command'] or 'not recorded'}",
        page.rows([["", ""], *([name, text] for name, text in made_with.items())]),
        *page.tables_of_points(found, facts["columns"]),
        f"[study.md]({where}.md) has the best runs and pictures, [study.csv]({where}.csv) all measures.",
    ]


def _different(texts: Iterable[str]) -> str:
    return "; ".join(dict.fromkeys(texts))


def _of_comparison(report: dict[str, Any]) -> list[str]:
    made_with = {**report["machine"], **report["versions"]}
    return [
        _SPEED,
        f"    {comparison.command(report)}",
        page.rows([["", ""], *([name, text] for name, text in made_with.items())]),
        comparison.speed_table(report["workloads"]),
    ]


def _machine(record: dict[str, Any]) -> str:
    machine = record["machine"] or {}
    cores = "1 core" if machine.get("cores") == 1 else f"{machine.get('cores')} cores"
    parts = [machine.get("processor"), cores, f"{machine.get('memory_gib')} GiB"]
    return ", ".join([*map(str, parts), *(machine.get("gpus") or [])]) if machine else "unknown"


def _versions(record: dict[str, Any]) -> str:
    versions = record["versions"]
    return ", ".join(f"{title} {versions[name]}" for name, title in _PACKAGES.items() if versions.get(name))


def main(arguments: Sequence[str]) -> int:
    """Writes the page and the tables; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m results.page",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.parse_args(arguments)
    results = REPOSITORY / "results"
    (REPOSITORY / PAGE).write_text(make(results, REPOSITORY / "benchmarks/results.json"), encoding="utf-8")
    for name, tables_of in TABLES.items():
        path = REPOSITORY / name
        path.write_text(with_tables(path.read_text("utf-8"), tables_of(results)), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
