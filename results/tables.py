"""Tables of recorded runs in Markdown: a row for each configuration."""

import pathlib
import shlex
import statistics
from collections.abc import Sequence
from typing import Any

from results.records import Group
from vaeflow.commands.studies.report import choices, page, spreads

# By which measure a row of a table says how good a model is: the first that it has.
_MAIN = (
    "nll_is5000_nats[dynamic]",
    "evaluation/negative_elbo",
    "evaluation/negative_log_likelihood",
)


def runs_table(groups: Sequence[Group]) -> str:
    """Writes a table of configurations: a row for each, with its main measure."""
    lines = [["configuration", "data", "steps", "seeds", "measure", "held-out images", "time"]]
    for group in groups:
        name, spread = _main_measure(group)
        title, _ = choices.title(name)
        lines.append(
            [
                _configuration(group),
                group.said(_data),
                group.said(lambda record: f"{record['metrics']['step']:,}"),
                seeds(group),
                title,
                written(spread),
                time(group.records),
            ]
        )
    return page.rows(lines)


def tokenizers_table(groups: Sequence[Group]) -> str:
    """Writes the table of the tokenizers in docs/models.md, with their pictures."""
    lines = [["tokenizer", "steps", "seeds", "L1", "PSNR", "codes in use", ""]]
    for group in groups:
        found = group.measures()
        if "reconstruction_psnr_db[none]" not in found:
            continue  # The prior over codes reconstructs nothing.
        usage = found.get("codes/usage[none]")
        name = group.name
        lines.append(
            [
                f"`{name}.gin`",
                group.said(
                    lambda record: f"{record['metrics']['step']:,} of {record['run']['batch'].split(',')[0]}"
                ),
                seeds(group),
                written(found["reconstruction_l1[none]"]),
                f"{written(found['reconstruction_psnr_db[none]'])} dB",
                f"{100 * usage.mean:.0f} %" if usage else "–",
                f"![patches and reconstructions of {name}](../examples/pictures/{name}.png)",
            ]
        )
    return page.rows(lines)


def _configuration(group):
    """Names the gin file of a command, and the records where they are named otherwise."""
    command = shlex.split(group.records[0]["command"])
    files = [word.partition("=")[2] for word in command if word.startswith("--gin_file=")]
    file = f"`{pathlib.PurePosixPath(files[0]).name}`" if files else f"`{group.name}.gin`"
    return file if file == f"`{group.name}.gin`" else f"{file}, {group.name}"


def written(spread: spreads.Spread) -> str:
    """Writes a spread with as many decimals as it deserves."""
    return spreads.written(spread, spreads.decimals([spread]))


def seeds(group: Group) -> str:
    """Names the seeds of a configuration, or says that there is one."""
    seeds = ", ".join(map(str, group.seeds))
    return f"one seed ({seeds})" if len(group.seeds) == 1 else seeds


def time(records: Sequence[dict[str, Any]]) -> str:
    """Writes the time of training: the mean over the records of some seeds, and that of each."""
    seconds = [record["seconds"] for record in records]
    each = [page.duration(time) for time in seconds]
    return each[0] if len(each) == 1 else f"{page.duration(statistics.mean(seconds))} ({', '.join(each)})"


def _main_measure(group: Group) -> tuple[str, spreads.Spread]:
    found = group.measures()
    name = next((name for name in _MAIN if name in found), next(iter(found)))
    return name, found[name]


def _data(record: dict[str, Any]) -> str:
    """Names the data of a run, and how they are binarized."""
    name = record["run"]["data"].partition(",")[0]
    how = [line.split("'")[1] for line in record["configuration"] if ".binarization = '" in line]
    return f"{name}, {how[0]} binarization" if how else name
