"""The files of a report: pictures and traversals, and what is said where they are not possible."""

import os

import numpy as np
import pytest
from PIL import Image

from tests.fixtures import study_outcomes, trained_runs
from vaeflow.commands.studies.report import pictures, traversals, writing
from vaeflow.commands.studies.report.choices import Choices
from vaeflow.runs import processes

BETA = "BetaVAE.beta"
BEST = "000_BetaVAE.beta=1_seed=0"


@pytest.fixture
def without_pictures(monkeypatch):
    """Without matplotlib, and without the time that it takes."""
    monkeypatch.setattr(pictures, "are_possible", lambda: False)


@pytest.fixture
def sampled(monkeypatch):
    """The command lines of `vaeflow sample`, which draws nothing."""
    commands = []
    monkeypatch.setattr(processes, "output", lambda command, seconds: commands.append(command))
    return commands


def write(folders, outcomes, runs, **others):
    """Writes the report of runs in the folder `runs`, but for those of `others`: name -> work folder."""
    work_folders = {each.run.name: runs / each.run.name for each in outcomes} | others
    writing.write(folders, "made-up", outcomes, Choices(), runs=work_folders)


def draw_traversals(path):
    """A black picture of 40 by 60 pixels."""
    path.parent.mkdir(parents=True)
    Image.fromarray(np.zeros((60, 40, 3), np.uint8)).save(path)


def test_without_matplotlib_the_tables_come_and_a_line_says_what_to_install(
    tmp_path, capsys, without_pictures
):
    write([tmp_path], study_outcomes.grid(1), tmp_path / "runs")
    assert "pip install 'vaeflow[study]'" in capsys.readouterr().err
    assert (tmp_path / "study.md").exists()
    assert list((tmp_path / "pictures").iterdir()) == []


def test_the_traversals_of_the_best_run_come_from_its_samples(tmp_path, without_pictures, sampled):
    draw_traversals(tmp_path / "runs" / BEST / "samples" / "traversals.png")
    write([tmp_path], study_outcomes.grid(1), tmp_path / "runs")
    with Image.open(tmp_path / "pictures" / f"traversals_{BEST}.png") as picture:
        pixels = np.asarray(picture)
    assert (pixels[28:88, :40] == 0).all()
    assert pixels[:28].min() < 128 < pixels[:28].max()  # A line above them.
    assert f"(pictures/traversals_{BEST}.png)" in (tmp_path / "study.md").read_text()
    assert sampled == []


def test_the_traversals_come_from_the_work_folder_of_the_run_whatever_its_name(
    tmp_path, without_pictures, sampled
):
    """A grid that grows gives a finished run another name than that of its folder."""
    draw_traversals(tmp_path / "elsewhere" / "samples" / "traversals.png")
    write([tmp_path], study_outcomes.grid(1), tmp_path / "runs", **{BEST: tmp_path / "elsewhere"})
    assert (tmp_path / "pictures" / f"traversals_{BEST}.png").is_file()
    assert sampled == []


def test_the_newest_traversals_of_the_training_are_taken(tmp_path):
    for step, grey in ((100, 0), (2000, 255)):
        path = tmp_path / BEST / "images" / f"traversals-{step:08}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((8, 8), grey, np.uint8)).save(path)
    assert np.asarray(traversals._picture(tmp_path / BEST)).max() == 255


def test_a_run_without_traversals_is_sampled(tmp_path, capsys, without_pictures, sampled):
    (tmp_path / "runs" / BEST).mkdir(parents=True)
    write([tmp_path], study_outcomes.grid(1), tmp_path / "runs")
    (command,) = sampled
    assert "sample" in command
    assert f"--workdir={tmp_path / 'runs' / BEST}" in command
    assert f"left out: the traversals of {BEST}" in capsys.readouterr().err


@pytest.mark.parametrize(
    "make",
    [
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(b"\x89PNG\r\n\x1a\nx"),
        lambda path: path.mkdir(),
        os.mkfifo,
    ],
)
def test_a_picture_that_is_none_is_left_out_and_named(tmp_path, capsys, without_pictures, make):
    """It would end the study in a traceback, and a pipe would keep it for ever."""
    path = tmp_path / "runs" / BEST / "images" / "traversals-00000004.png"
    path.parent.mkdir(parents=True)
    make(path)
    write([tmp_path], study_outcomes.grid(1), tmp_path / "runs")
    assert f"{path} cannot be read: " in capsys.readouterr().err
    assert (tmp_path / "study.md").exists()


def test_where_only_records_are_here_the_traversals_are_left_out_and_named(
    tmp_path, capsys, without_pictures, sampled
):
    write([tmp_path], study_outcomes.models(), tmp_path / "runs")
    said = [line for line in capsys.readouterr().err.splitlines() if "traversals" in line]
    assert len(said) == 2  # Of the best run of each model.
    assert sampled == []


def test_a_report_is_written_to_each_folder_and_takes_the_place_of_the_last(tmp_path, without_pictures):
    folders = [tmp_path / "study", tmp_path / "results"]
    for folder in folders:
        (folder / "pictures").mkdir(parents=True)
        (folder / "pictures" / "old.png").touch()
    write(folders, study_outcomes.grid(1), tmp_path / "runs")
    assert (folders[0] / "study.csv").read_bytes() == (folders[1] / "study.csv").read_bytes()
    assert not any((folder / "pictures" / "old.png").exists() for folder in folders)
    assert (folders[0] / "hparams").is_dir()
    assert not (folders[1] / "hparams").exists()


def test_a_study_of_which_nothing_has_run_is_reported(tmp_path, without_pictures):
    write([tmp_path], [study_outcomes.missing(0, {BETA: "1"}, 0)], tmp_path / "runs")
    assert "1 missing" in (tmp_path / "study.md").read_text()


@pytest.mark.long
@pytest.mark.processes
def test_vaeflow_sample_draws_the_traversals_that_a_run_has_not(tmp_path):
    """Three latents, moved in 11 steps: a row for each, so three times as wide as high with the labels."""
    folder = trained_runs.trained_folder(tmp_path)
    picture = traversals._picture(folder)
    assert picture is not None
    assert 3 < (picture.width - 76) / picture.height < 4
