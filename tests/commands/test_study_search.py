"""`vaeflow study` with a search by Optuna, its runs trained in this process."""

import json
import re
import shutil
import sys

import pytest

from tests.fixtures import study_places
from tests.fixtures.study_places import names_taken, start

pytestmark = pytest.mark.slow
pytest.importorskip("optuna")

SETTINGS = """
study.place = @InThisProcess()
study.space = {
    "VAE.num_latents": ("int", 2, 9),
    "train.optimizer": ("choice", (@Adam, @SGD)),
    "Adam.learning_rate": ("log", 1e-4, %highest),
}
study.search = @OptunaSearch()
OptunaSearch.metric = "train/loss"
OptunaSearch.num_trials = 3
OptunaSearch.storage = "journal"
highest = 1e-1
"""


@pytest.fixture(scope="module", autouse=True)
def without_traversals():
    """No report draws traversals of the best run, which takes a process and many seconds."""
    with pytest.MonkeyPatch.context() as patching:
        patching.setattr("vaeflow.commands.studies.report.traversals.draw", lambda *_, **__: {})
        yield


@pytest.fixture(scope="module")
def original(tmp_path_factory, without_traversals):
    """A folder with a gin file, and a study of three trials that is done."""
    folder = tmp_path_factory.mktemp("study")
    study_places.write(folder, SETTINGS)
    assert start(folder) == 0
    return folder


@pytest.fixture
def done(original, tmp_path):
    """A copy of that folder."""
    shutil.copytree(original, tmp_path, dirs_exist_ok=True)
    return tmp_path


def records(folder):
    return {path.stem: json.loads(path.read_text()) for path in (folder / "runs" / "records").glob("*.json")}


def test_each_trial_is_a_run_with_a_record_and_a_row_of_the_table(original):
    found = records(original)
    assert sorted(name[:3] for name in found) == ["000", "001", "002"]
    assert len((original / "runs" / "study_runs.csv").read_text().splitlines()) == 4
    assert json.loads((original / "runs" / "study.json").read_text())["metric"] == "train/loss"


def test_a_run_leaves_out_what_it_does_not_read(original):
    for name, record in records(original).items():
        assert ("Adam.learning_rate" in name) == ("train.optimizer = @Adam" in record["configuration"])
    assert {"optimizer=Adam" in name for name in records(original)} == {True, False}


def test_the_search_does_not_stand_in_the_configuration_of_a_run(original):
    for record in records(original).values():
        assert not re.search("OptunaSearch|study|highest", "\n".join(record["configuration"]))


def test_a_search_that_is_done_starts_nothing(done):
    assert start(done) == 0
    assert names_taken() == []


def test_records_replay_a_search_whose_storage_is_gone(done):
    for name in ("trials", "optuna.journal", "runs"):
        path = done / "runs" / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    assert start(done) == 0
    assert names_taken() == []
    assert (done / "runs" / "optuna.journal").exists()


@pytest.mark.long
def test_more_trials_extend_a_search_and_stopped_runs_are_gone_on_with(done, monkeypatch, capsys):
    more = "--gin_param=OptunaSearch.num_trials = 5"
    with monkeypatch.context() as stopping:
        stopping.setattr(study_places, "_main", lambda job: 42)
        assert start(done, more) == 42
    stopped = names_taken()
    assert [name[:3] for name in stopped] == ["003", "004"]
    assert start(done, more) == 0
    assert names_taken() == stopped
    assert "5 of 5 runs are done" in capsys.readouterr().out


def test_a_trial_that_fails_does_not_end_the_search_and_is_not_run_again(done, monkeypatch, capsys):
    more = "--gin_param=OptunaSearch.num_trials = 5"
    monkeypatch.setattr(study_places, "_main", lambda job: 3)
    assert start(done, more) == 3
    assert "003_" in capsys.readouterr().err
    assert [name[:3] for name in names_taken()] == ["003", "004"]
    assert start(done, more) == 3
    assert names_taken() == []
    assert "3 of 5 runs are done" in capsys.readouterr().out


def test_the_table_alone_has_all_trials(done):
    (done / "runs" / "study_runs.csv").unlink()
    assert start(done, "--table") == 0
    assert len((done / "runs" / "study_runs.csv").read_text().splitlines()) == 4


def test_what_was_tried_before_is_not_run_again(done, monkeypatch):
    """Six trials, two settings: what one came to counts for the others like it."""
    monkeypatch.setattr(study_places, "_main", lambda job: 3)
    parameters = ("study.space = {'VAE.num_latents': ('choice', (2, 3))}", "OptunaSearch.num_trials = 6")
    flags = [f"--gin_param={parameter}" for parameter in parameters]
    assert start(done, *flags, workdir="twins") == 3
    assert sorted(name[4:] for name in names_taken()) == [f"VAE.num_latents={size}_seed=0" for size in (2, 3)]
    assert len((done / "twins" / "study_runs.csv").read_text().splitlines()) == 7
    assert start(done, *flags, workdir="twins") == 3
    assert names_taken() == []


def test_no_table_is_made_of_a_search_that_was_never_started(done, capsys):
    assert start(done, "--table", workdir="elsewhere") == 2
    assert "there is no search in" in capsys.readouterr().err
    assert not (done / "elsewhere").exists()


@pytest.mark.parametrize(
    ("parameter", "expected"),
    [
        ("study.grid = {'VAE.num_latents': (2,)}", "`study.grid` and `study.search` exclude each other"),
        ("study.search = None", "`study.space` needs a search: add `study.search = @OptunaSearch()`"),
        ("study.search = @Here()", "must be a search such as @OptunaSearch()"),
        ("study.space = {'VAE.num_latent': ('int', 2, 9)}", "no parameter 'num_latent'"),
        ("study.space = {'VAE.num_latents': ('int', 9, 2)}", "lowest value below the highest"),
        (
            "study.space = {'BetaVAE.beta': ('int', 1, 2)}",
            "does not read it: nothing that `train` uses refers to @BetaVAE",
        ),
        ("OptunaSearch.num_trials = 0", "OptunaSearch.num_trials"),
        ("OptunaSearch.sampler = 'None'", "must be the name of a class in optuna.samplers"),
        ("OptunaSearch.metric = 'other'", "begun with another metric: train/loss, and now it is other"),
    ],
)
def test_mistakes_are_found_before_anything_runs(done, capsys, parameter, expected):
    assert start(done, f"--gin_param={parameter}") == 2
    (message,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("vaeflow study:")]
    assert expected in message
    assert names_taken() == []


def test_without_optuna_it_says_what_to_install(done, capsys, monkeypatch):
    for name in ("optuna_parts", "trials"):
        monkeypatch.delitem(sys.modules, f"vaeflow.commands.studies.search.{name}", raising=False)
        monkeypatch.delattr(f"vaeflow.commands.studies.search.{name}", raising=False)
    monkeypatch.setitem(sys.modules, "optuna", None)
    assert start(done) == 2
    assert "Optuna is not installed; pip install 'vaeflow[optuna]'" in capsys.readouterr().err
