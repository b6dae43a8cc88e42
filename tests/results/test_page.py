"""docs/results.md and the tables of other pages come from the records, README's figures from that page."""

import json
import re

import numpy as np
import pytest

from results import page, records
from tests.fixtures import study_outcomes
from tests.results.test_records import record, write, write_study
from vaeflow.commands.studies.report import tables

RESULTS, BENCHMARKS = page.REPOSITORY / "results", page.REPOSITORY / "benchmarks/results.json"
PUBLISHED, MODELS = ((page.REPOSITORY / name).read_text("utf-8") for name in (page.PAGE, "docs/models.md"))
README = (page.REPOSITORY / "README.md").read_text("utf-8")
REPEAT = "run `python -m results.page`"
GROUPS = records.groups(RESULTS)
STUDIES = [path.parent for path in sorted(RESULTS.rglob(records.STUDY))]


def made(folder):
    """The page of made-up records."""
    return page.make(folder, BENCHMARKS)


def cells(row):
    return [cell.strip() for cell in row.strip().strip("|").split(" | ")]


def rows_of_figures(text):
    """The rows of all tables whose columns after the first are figures: begin with a number, mostly."""
    rows = [row for row in text.splitlines() if row.startswith("| ")]
    return [row for row in rows if np.mean([bool(re.match(r"−?\d", cell)) for cell in cells(row)[1:]]) > 0.5]


def without_source(text, published):
    """The rows of figures of a text that a page does not have."""
    return [row for row in rows_of_figures(text) if row not in published.splitlines()]


def test_the_page_is_that_of_the_records():
    assert made(RESULTS) == PUBLISHED, REPEAT


@pytest.mark.parametrize("name", page.TABLES)
def test_the_tables_of_a_page_are_those_of_the_records(name):
    text = (page.REPOSITORY / name).read_text("utf-8")
    assert page.with_tables(text, page.TABLES[name](RESULTS)) == text, REPEAT


@pytest.mark.parametrize("group", GROUPS, ids=lambda group: group.name)
def test_a_row_has_mean_and_deviation_of_its_records(group):
    """Computed here with NumPy, from the files."""
    files = [json.loads((RESULTS / f"{each['name']}.json").read_text()) for each in group.records]
    # An SWAE has no ELBO, and a diffusion prior no reconstructions.
    measures = ("negative_elbo", "reconstruction_loss", "noise_loss")
    measure = next(f"evaluation/{name}" for name in measures if f"evaluation/{name}" in files[0]["metrics"])
    values = [each["metrics"][measure] for each in files]
    (row,) = re.findall(rf"^\| `{group.name}\.gin` \|.*", MODELS, re.MULTILINE)
    seeds, _, figure, _ = cells(row)[3:]
    shown = [float(number.replace(",", "").replace("−", "-")) for number in re.findall(r"−?[\d,.]+", figure)]
    tolerance = 0.051 if "." in figure else 0.51  # Half of the last digit shown, at most.
    assert shown[0] == pytest.approx(np.mean(values), abs=tolerance)
    if len(values) == 1:
        assert seeds == f"one seed ({files[0]['seed']})"
        assert len(shown) == 1
    else:
        assert shown[1] == pytest.approx(np.std(values, ddof=1), abs=tolerance)
        assert seeds == ", ".join(str(each["seed"]) for each in files)


@pytest.mark.parametrize("folder", STUDIES, ids=lambda folder: folder.name)
def test_the_table_of_a_study_is_that_of_its_records(folder):
    _, points = records.study(folder)
    assert tables.of_points(points) == (folder / "study.csv").read_text("utf-8")


def test_every_figure_of_a_table_of_the_readme_has_its_source():
    assert len(rows_of_figures(README)) >= 7
    assert without_source(README, PUBLISHED) == []


def test_a_figure_without_a_source_is_found():
    (rate, *_) = re.findall(r"\| ([\d,]+) \| [\d.]+ × \|$", README, re.MULTILINE)
    changed = README.replace(f"| {rate} |", f"| {rate}9 |")
    assert changed != README
    assert len(without_source(changed, PUBLISHED)) == 1


def test_a_configuration_has_its_command_seeds_revision_machine_versions_and_time(tmp_path):
    write(tmp_path, record("vae", 0, 100.0), record("vae-1", 1, 101.0, seconds=120.0))
    text = made(tmp_path)
    assert "    vaeflow train --gin_file=vae.gin\n    vaeflow train --gin_file=vae-1.gin\n" in text
    for row in (
        "| seeds | 0, 1 |",
        "| revision | 0123abcd |",
        "| machine | AMD EPYC, 2 cores, 23.5 GiB |",
        "| versions | Python 3.11.7, TensorFlow 2.21.0 |",
        "| time | 90 s (60 s, 2 min) |",
        # Student's t of 1 degree of freedom is 12.706, and 12.706 · 0.7071 / √2 = 6.353.
        "| `evaluation/negative_elbo` | 100.50 ± 0.71 (94.15 to 106.85) |",
    ):
        assert row in text.splitlines(), row


def test_a_row_names_the_gin_file_that_was_trained(tmp_path):
    command = "vaeflow train --gin_file=configs/deep.gin '--gin_param=Decoder.num_groups = (1, 1)'"
    write(tmp_path, record("groups_2", command=command), record("vae"))
    text = made(tmp_path)
    assert "| `deep.gin`, groups_2 | " in text
    assert "| `vae.gin` | " in text


def test_one_seed_is_said_to_be_one(tmp_path):
    write(tmp_path, record("vae", 3))
    assert "| seeds | one seed (3) |" in made(tmp_path)


def test_a_study_has_a_row_for_each_point(tmp_path):
    write_study(tmp_path / "beta", study_outcomes.grid(3))
    text = made(tmp_path)
    assert "## Study made-up" in text
    assert "| 4 | 3 | 0.30 ± 0.10 (0.05 to 0.55) |" in text
    for row in ("| seeds | 0, 1, 2 |", "| revision | 0123abcd |", "| time | 9 min |"):
        assert row in text.splitlines(), row
    assert "](../results/beta/study.md)" in text


def test_the_tables_take_their_place_in_the_page_of_models(tmp_path):
    write(tmp_path, record("vae", 0, 100.0))
    names = ("runs", "families", "hierarchy", "tokenizers", "weights")
    text = "".join(f"before {name}\n{page.BEGIN.format(name)}old\n{page.END}" for name in names) + "after\n"
    lines = page.with_tables(text, page.models_tables(tmp_path)).splitlines()
    assert "old" not in lines
    assert "| `vae.gin` | Sprites | 1,000 | one seed (0) | negative ELBO (nats) | 100 | 60 s |" in lines
    assert (lines[0], lines[-1]) == ("before runs", "after")


def test_a_page_without_a_place_for_a_table_is_refused():
    with pytest.raises(ValueError, match="lacks the lines <!-- runs"):
        page.with_tables("nothing\n", {"runs": "a table"})
