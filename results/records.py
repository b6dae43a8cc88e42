"""Reads the records below this folder, and puts together those that differ in their seed alone.

A run's record is `NAME.json` or `NAME-SEED.json`, as `vaeflow record` writes it; a folder with a `study.json`
has the records of a study, `POINT_seed=SEED.json`.
"""

import dataclasses
import itertools
import json
import pathlib
import re
from collections.abc import Callable, Sequence
from typing import Any

from vaeflow.commands.studies.outcomes import Outcome
from vaeflow.commands.studies.plan import PlannedRun
from vaeflow.commands.studies.report import findings, spreads
from vaeflow.commands.studies.report.findings import Point
from vaeflow.commands.studies.report.spreads import Spread

HERE = pathlib.Path(__file__).parent
STUDY = "study.json"
# Folders of figures that are no records of runs.
PAPER_SCALE = "paper_scale"
WEIGHTS = "weights"
_OF_A_RUN = {
    "name",
    "command",
    "seed",
    "revision",
    "machine",
    "versions",
    "seconds",
    "metrics",
    "configuration",
}
# Of which a table would have dozens.
_OF_ONE_LATENT = re.compile(r"per_dimension|codes/.*/\d+")
_OF_HELD_OUT_IMAGES = re.compile(r"(?:evaluation|validation)/|.*\[")
# What may differ between the seeds of one configuration: the seed, and where the data are.
_MAY_DIFFER = re.compile(r"train\.seed = |\w+\.(?:folder|data_dir) = ")


@dataclasses.dataclass(frozen=True)
class Group:
    """The runs of one configuration.

    Attributes:
      name: of the configuration.
      records: of its seeds, in their order.
    """

    name: str
    records: tuple[dict[str, Any], ...]

    @property
    def seeds(self) -> list[int]:
        """The seeds, in order."""
        return [record["seed"] for record in self.records]

    def measures(self) -> dict[str, Spread]:
        """Returns what was measured on held-out images: name -> its spread over the seeds that have it."""
        found: dict[str, list[float]] = {}
        for record in self.records:
            for name, value in findings.measures_of(record).items():
                if _OF_HELD_OUT_IMAGES.match(name) and not _OF_ONE_LATENT.search(name):
                    found.setdefault(name, []).append(value)
        return {name: spreads.spread_of(values) for name, values in found.items()}

    def said(self, read: Callable[[dict[str, Any]], str]) -> str:
        """Says what the records say, and where they differ which seed says what.

        Args:
          read: takes it from a record.
        """
        by_text: dict[str, list[str]] = {}
        for record in self.records:
            by_text.setdefault(read(record), []).append(str(record["seed"]))
        if len(by_text) == 1:
            return next(iter(by_text))
        return "; ".join(f"{text} (seed {', '.join(seeds)})" for text, seeds in by_text.items())


def groups(folder: pathlib.Path) -> list[Group]:
    """Returns the runs whose records are in a folder, by configuration.

    Raises:
      ValueError: a record is none, or two of one configuration are of the same seed or of different
        settings.
    """
    found: dict[str, list[dict[str, Any]]] = {}
    for path in sorted(folder.glob("*.json")):
        record = read(path)
        if path.name == STUDY or not record.keys() >= _OF_A_RUN:
            raise ValueError(f"{path} is not the record of a run; `vaeflow record` writes one")
        if record["name"] != path.stem:
            raise ValueError(f"{path} is the record of {record['name']}; give it that name")
        found.setdefault(_configuration_name(record), []).append(record)
    return [
        Group(name, _checked(sorted(records, key=lambda record: record["seed"])))
        for name, records in sorted(found.items(), key=lambda item: _numbers_as_such(item[0]))
    ]


def study(folder: pathlib.Path) -> tuple[dict[str, Any], list[Point]]:
    """Returns what `study.json` says of a study, and its points, whose figures come from the records.

    Raises:
      ValueError: the record of a run that is done is missing.
    """
    facts = read(folder / STUDY)
    outcomes = []
    for point in facts["points"]:
        for each in point["runs"]:
            path = folder / f"{each['name']}.json"
            if each["state"] == "done" and not path.exists():
                raise ValueError(
                    f"{folder / STUDY} says that {each['name']} is done, and there is no {path.name}"
                )
            planned = PlannedRun(point["index"], each["name"], point["settings"], each["seed"])
            record = read(path) if each["state"] == "done" else None
            outcomes.append(Outcome(planned, each["state"], record, "", each["exit_code"], each["seconds"]))
    return facts, findings.points(outcomes)


def seeds_of(name: str, records: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Returns those of some records that are named NAME-SEED."""
    return [record for record in records if record["name"].rpartition("-")[0] == name]


def read(path: pathlib.Path) -> dict[str, Any]:
    """Reads a JSON file."""
    return json.loads(path.read_text("utf-8"))


def folders(results: pathlib.Path) -> list[pathlib.Path]:
    """Returns the folders that have records of runs, those of `results` itself first."""
    every = {path.parent for path in results.rglob("*.json")}
    every -= {results / PAPER_SCALE, results / WEIGHTS}
    return sorted(every, key=lambda folder: folder.relative_to(results).parts)


def _numbers_as_such(name):
    """Splits a name so that `groups_2` comes before `groups_16`."""
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", name)]


def _configuration_name(record):
    name, seed = record["name"], record["seed"]
    for ending in (f"-{seed}", f"_seed={seed}"):
        if name.endswith(ending):
            return name.removesuffix(ending)
    return name


def _checked(records):
    first = records[0]
    for before, record in itertools.pairwise(records):
        if record["seed"] == before["seed"]:
            raise ValueError(
                f"{before['name']} and {record['name']} are records of one seed; keep one of them"
            )
        if different := set(_settings(first)) ^ set(_settings(record)):
            raise ValueError(
                f"{first['name']} and {record['name']} differ in more than the seed: {min(different)}; give "
                "one of them another name"
            )
    return tuple(records)


def _settings(record):
    return [line for line in record["configuration"] if line and not _MAY_DIFFER.match(line)]
