"""The figures in docs/models.md are those of the recorded runs, results/*.json."""

import json
import pathlib
import re

import pytest

REPOSITORY = pathlib.Path(__file__).parents[1]
TABLE = (REPOSITORY / "docs/models.md").read_text()
RECORDS = sorted((REPOSITORY / "results").glob("*.json"))

MADE_UP_TABLE = "| `tiny.gin` | sprites | 4,690 | 95.7 nats (90 to 96 with other seeds) | 3 min |\n"


def made_up_record(step=4690, negative_elbo=95.7, seconds=180):
    return {"metrics": {"step": step, "evaluation/negative_elbo": negative_elbo}, "seconds": seconds}


def printed(seconds):
    """A time as the table shows it."""
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min"


def disagreements(name, record, table):
    """Lists what a table says differently from a record.

    Args:
      name: of the record, and of the gin file.
      record: a dict, what `vaeflow record` writes.
      table: Markdown, with a row that begins with the gin file's name.
    """
    row = rf"^\| `{name}\.gin` \| [^|]+ \| ([\d,]+) \| ([\d.]+) nats[^|]* \| ([^|]+) \|"
    rows = re.findall(row, table, re.MULTILINE)
    if len(rows) != 1:
        return [f"docs/models.md has {len(rows)} rows of results for `{name}.gin`"]
    ((steps, nats, time),) = rows
    decimals = len(nats.partition(".")[2])
    metrics = record["metrics"]
    recorded = {
        f"{steps} steps": f"{metrics['step']:,} steps",
        f"{nats} nats": f"{metrics['evaluation/negative_elbo']:.{decimals}f} nats",
        time: printed(record["seconds"]),
    }
    return [
        f"docs/models.md has {shown} for `{name}.gin`, results/{name}.json has {right}"
        for shown, right in recorded.items()
        if shown != right
    ]


@pytest.mark.parametrize("path", RECORDS, ids=lambda path: path.stem)
def test_the_table_shows_every_record(path):
    assert disagreements(path.stem, json.loads(path.read_text()), TABLE) == []


@pytest.mark.parametrize("agreeing", [{}, {"negative_elbo": 95.7499}, {"seconds": 200.0}])
def test_a_record_that_rounds_to_the_table_agrees(agreeing):
    assert disagreements("tiny", made_up_record(**agreeing), MADE_UP_TABLE) == []


@pytest.mark.parametrize(
    ("different", "part"),
    [
        ({"step": 100}, "has 100 steps"),
        ({"negative_elbo": 95.76}, "has 95.8 nats"),
        ({"seconds": 21.4}, "has 21 s"),
    ],
)
def test_what_differs_from_a_record_is_found(different, part):
    (problem,) = disagreements("tiny", made_up_record(**different), MADE_UP_TABLE)
    assert part in problem


def test_a_record_without_a_row_is_found():
    (problem,) = disagreements("huge", made_up_record(), MADE_UP_TABLE)
    assert "0 rows" in problem


@pytest.mark.parametrize("name", ["vae", "mnist_conv_vae", "conv_vae"])
def test_the_table_has_the_rows_that_are_compared(name):
    problems = disagreements(name, made_up_record(step=1, negative_elbo=0.0, seconds=1), TABLE)
    assert len(problems) == 3
