"""The figures in docs/models.md are those of the recorded runs, results/*.json."""

import json
import pathlib
import re

import pytest

REPOSITORY = pathlib.Path(__file__).parents[1]
TABLE = (REPOSITORY / "docs/models.md").read_text()
RECORDS = sorted((REPOSITORY / "results").glob("*.json"))

MADE_UP_TABLE = "| `tiny.gin` | sprites | 4,690 | 95.7 nats (90 to 96 with other seeds) | 3 min |\n"


def disagreements(name, record, table):
    """Lists what a table says differently from a record.

    Args:
      name: of the record, and of the gin file.
      record: a dict, with `metrics` as in `result.json`.
      table: Markdown, with a row that begins with the gin file's name.
    """
    rows = re.findall(rf"^\| `{name}\.gin` \| .* \| ([\d,]+) \| ([\d.]+) nats", table, re.MULTILINE)
    if len(rows) != 1:
        return [f"docs/models.md has {len(rows)} rows of results for `{name}.gin`"]
    ((steps, nats),) = rows
    decimals = len(nats.partition(".")[2])
    found = {"steps": steps, "nats": nats}
    metrics = record["metrics"]
    recorded = {
        "steps": f"{metrics['step']:,}",
        "nats": f"{metrics['evaluation/negative_elbo']:.{decimals}f}",
    }
    return [
        f"results/{name}.json has {recorded[key]} {key}, docs/models.md {found[key]}"
        for key in found
        if found[key] != recorded[key]
    ]


@pytest.mark.parametrize("path", RECORDS, ids=lambda path: path.stem)
def test_the_table_shows_every_record(path):
    assert disagreements(path.stem, json.loads(path.read_text()), TABLE) == []


@pytest.mark.parametrize(
    ("name", "step", "negative_elbo", "count"),
    [("tiny", 4690, 95.7499, 0), ("tiny", 4690, 95.76, 1), ("tiny", 100, 95.6, 2), ("huge", 4690, 95.7, 1)],
)
def test_what_differs_from_a_record_is_found(name, step, negative_elbo, count):
    record = {"metrics": {"step": step, "evaluation/negative_elbo": negative_elbo}}
    assert len(disagreements(name, record, MADE_UP_TABLE)) == count


@pytest.mark.parametrize("name", ["vae", "mnist_conv_vae", "conv_vae"])
def test_the_table_has_the_rows_that_are_compared(name):
    (problem,) = disagreements(name, {"metrics": {"step": 4690, "evaluation/negative_elbo": 0.0}}, TABLE)[-1:]
    assert "nats" in problem
