"""The tables of a study: a row for each point, a row for each run, and the page."""

import csv
import io
import json

import numpy as np
import pytest

from tests.fixtures import study_outcomes
from tests.fixtures.study_outcomes import ELBO, MIG, TRAINED
from vaeflow.commands.studies.report import choices, findings, tables, writing
from vaeflow.commands.studies.report.choices import Choices

BETA = "BetaVAE.beta"


def rows(text):
    return list(csv.DictReader(io.StringIO(text)))


def written(folder, outcomes, **chosen):
    """The four files of a study, read: two lists of rows, a dict, a text."""
    writing.write_tables([folder], "made-up", outcomes, Choices(**chosen), "vaeflow study --gin_file=my.gin")
    points, runs, page = ((folder / name).read_text() for name in ("study.csv", "study_runs.csv", "study.md"))
    return rows(points), rows(runs), json.loads((folder / "study.json").read_text()), page


def test_a_row_has_the_spread_of_each_measure_over_the_seeds(tmp_path):
    points, _, _, _ = written(tmp_path, study_outcomes.grid())
    assert [row[BETA] for row in points] == ["1", "4", "16"]
    second = points[1]
    assert float(second[f"{MIG} mean"]) == pytest.approx(np.mean([0.2, 0.3, 0.4]))
    assert float(second[f"{MIG} deviation"]) == pytest.approx(0.1)
    assert second[f"{MIG} seeds"] == "3"
    assert float(second[f"{TRAINED} mean"]) == pytest.approx(103.0)


def test_a_run_has_a_row_of_its_own(tmp_path):
    _, runs, _, _ = written(tmp_path, [*study_outcomes.grid(1), study_outcomes.failed(0, {BETA: "1"}, 1)])
    first, second = (row for row in runs if row["point"] == "0")
    assert (first["state"], first["seed"], float(first[MIG])) == ("done", "0", 0.1)
    assert (second["state"], second["exit code"], second["message"]) == ("failed", "3", "training diverged")
    assert second[MIG] == ""


def test_one_seed_has_no_deviation(tmp_path):
    points, _, content, page = written(tmp_path, study_outcomes.grid(seeds=1, betas=(4,)))
    assert points[0][f"{MIG} deviation"] == ""
    assert content["points"][0]["measures"][MIG]["interval"] is None
    assert "±" not in page.split("Mean ±")[0]


def test_a_study_whose_runs_all_failed_has_its_tables(tmp_path):
    outcomes = [study_outcomes.failed(0, {BETA: "1"}, seed, f"bad | {seed}") for seed in (0, 1)]
    points, _, content, page = written(tmp_path, outcomes)
    assert (points[0]["done"], points[0]["failed"]) == ("0", "2")
    assert content["best"] == []
    assert [each["message"] for each in content["failures"]] == ["bad | 0", "bad | 1"]
    assert r"bad \| 1" in page


def test_a_seed_that_failed_is_left_out_of_the_mean_and_counted(tmp_path):
    outcomes = [*study_outcomes.grid(2), study_outcomes.failed(1, {BETA: "4"}, 2)]
    points, _, content, page = written(tmp_path, outcomes)
    assert points[1][f"{MIG} seeds"] == "2"
    assert content["states"] == {"done": 6, "failed": 1, "stopped": 0, "abandoned": 0, "missing": 0}
    assert "| 4 | 2 of 3 |" in page


def test_a_run_that_is_missing_has_no_figures(tmp_path):
    outcomes = [*study_outcomes.grid(1, (1,)), study_outcomes.missing(1, {BETA: "4"}, 0)]
    points, _, _, page = written(tmp_path, outcomes)
    assert points[1]["done"] == "0"
    assert "1 done, 1 missing" in page


def test_settings_that_some_points_have_stay_empty_elsewhere(tmp_path):
    points, _, _, page = written(tmp_path, study_outcomes.models())
    assert [row["FactorVAE.gamma"] for row in points] == ["", "", "10"]
    assert "| FactorVAE, gamma=10 | 2 |" in page


def test_the_best_runs_are_those_of_the_metric(tmp_path):
    outcomes = study_outcomes.grid()
    *_, content, page = written(tmp_path, outcomes)
    assert content["metric"] == TRAINED
    assert content["best"][0] == "000_BetaVAE.beta=1_seed=2"
    assert f"The lowest `{TRAINED}`" in page
    *_, content, _ = written(tmp_path, outcomes, metric="mig", direction="maximize")
    assert (content["metric"], content["best"][0]) == (MIG, "002_BetaVAE.beta=16_seed=2")


def test_the_page_shows_the_columns_that_are_named(tmp_path):
    *_, page = written(tmp_path, study_outcomes.grid(), columns=["mig"])
    assert "| BetaVAE.beta | seeds | MIG<br>pool, n=2000 | time |" in page
    assert "ELBO<br>" not in page


def test_the_page_shows_scores_and_main_measures_by_itself(tmp_path):
    outcomes = [study_outcomes.done(0, {BETA: "1"}, 0, **{"reconstruction_l1[none]": 0.1})]
    _, _, content, _ = written(tmp_path, outcomes)
    assert content["columns"] == [MIG, ELBO]


@pytest.mark.parametrize(
    ("name", "title"),
    [
        (MIG, ("MIG", "pool, n=2000")),
        ("nll_is500_nats[dynamic]", ("NLL of 500 samples (nats)", "dynamic")),
        ("factor_vae_score[none,published,n=10]", ("FactorVAE score", "published, n=10")),
        (TRAINED, ("negative ELBO (nats)", "evaluation")),
        ("reconstruction_psnr_db[none]", ("reconstruction PSNR (dB)", "")),
        ("gaussian_total_correlation[none,pool,n=5]", ("Gaussian total correlation", "pool, n=5")),
    ],
)
def test_a_measure_is_named_with_its_unit_and_how_it_was_measured(name, title):
    assert choices.title(name) == title


def test_a_machine_of_one_core_has_one_core(tmp_path):
    outcomes = study_outcomes.grid(1)
    for each in outcomes:
        each.record["machine"]["cores"] = 1
    *_, page = written(tmp_path, outcomes)
    assert "machine AMD EPYC, 1 core." in page


def test_a_measure_that_no_run_has_is_named(tmp_path):
    *_, page = written(tmp_path, study_outcomes.grid(), metric="mgi", direction="maximize")
    assert "No run has measured `mgi`." in page


@pytest.mark.parametrize(
    ("chosen", "part"),
    [
        ({"metric": "mig"}, "`study.direction` must be one of"),
        ({"direction": "minimize"}, "set both or none"),
        ({"metric": 3, "direction": "minimize"}, "`study.metric` must be the name of a measure"),
        ({"columns": "mig"}, "`study.columns` must be a list of"),
    ],
)
def test_a_wrong_choice_is_refused(chosen, part):
    with pytest.raises(ValueError, match=part):
        Choices(**chosen)


def test_a_spreadsheet_computes_no_setting():
    outcomes = [study_outcomes.done(0, {"A.b": "'=1+1'", "A.c": "-2", "A.d": "=2"}, 0)]
    (row,) = rows(tables.of_runs(findings.points(outcomes)))
    assert (row["A.c"], row["A.d"]) == ("-2", "'=2")
    assert not row["A.b"].startswith("=")


def test_tuples_and_models_are_settings(tmp_path):
    settings = {"train.model": "@BetaVAE", "DenseEncoder.units": "(400, 200)", "A.flag": "True"}
    points, _, _, page = written(tmp_path, [study_outcomes.done(0, settings, 0)])
    assert points[0]["DenseEncoder.units"] == "(400, 200)"
    assert "| BetaVAE | (400, 200) | True |" in page


def test_what_is_not_finite_is_no_figure(tmp_path):
    _, _, content, _ = written(tmp_path, [study_outcomes.done(0, {BETA: "1"}, 0, mig=float("nan"))])
    assert MIG not in content["points"][0]["measures"]


@pytest.mark.parametrize("value", [1.7e308, -1e200])
def test_what_no_sum_of_squares_holds_is_no_figure(tmp_path, value):
    """The axes of the pictures would not be finite, which matplotlib refuses."""
    _, _, content, _ = written(tmp_path, [study_outcomes.done(0, {BETA: "1"}, 0, mig=value)])
    assert MIG not in content["points"][0]["measures"]


def test_the_name_of_a_measure_ends_no_code_in_the_page(tmp_path):
    name = "mig[`\n# Title <script>,pool]"
    outcomes = [study_outcomes.done(0, {BETA: "1"}, 0, **{name: 1.0})]
    *_, page = written(tmp_path, outcomes, metric=name, direction="maximize")
    assert "The highest ``mig[` # Title <script>,pool]``:" in page.splitlines()
