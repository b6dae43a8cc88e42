"""The folder of a study from elsewhere: nothing is written outside of it, and nothing in it is fatal."""

import json
import os
import sys

import pytest

from vaeflow.commands.studies import running
from vaeflow.commands.studies.folder import StudyFolder
from vaeflow.commands.studies.place import Job
from vaeflow.commands.studies.plan import planned_run
from vaeflow.devices.slurm_array import Part
from vaeflow.errors import EnvironmentFailure

CONFIGURATION = "train.seed = 0\n"


@pytest.fixture
def study(tmp_path):
    """The folder of a study, next to a folder that nothing may change."""
    (tmp_path / "study").mkdir()
    (tmp_path / "outside").mkdir()
    yield tmp_path / "study"
    assert list((tmp_path / "outside").iterdir()) == []


@pytest.mark.parametrize("name", ["runs", "records", "logs", "failures", "parts"])
def test_a_link_in_place_of_a_folder_is_refused(study, name):
    (study / name).symlink_to("../outside")
    with (
        pytest.raises(EnvironmentFailure, match="is a link that leads out of the work folder"),
        StudyFolder(str(study)).claim(Part(0, 2)),
    ):
        pass


def test_records_elsewhere_and_a_study_that_is_a_link_are_fine(study, tmp_path):
    (tmp_path / "link").symlink_to("study")
    folder = StudyFolder(str(tmp_path / "link"), str(tmp_path / "results"))
    with folder.claim(None):
        folder.remember_failure("run", CONFIGURATION, 3, "diverged", 1.0)
    assert folder.failure("run", CONFIGURATION) == {"exit_code": 3, "message": "diverged", "seconds": 1.0}


@pytest.mark.parametrize(
    "changes",
    [{"exit_code": 10**17}, {"exit_code": 0}, {"exit_code": -9}, {"message": None}, {"seconds": "x"}],
)
def test_a_failure_that_no_study_writes_counts_as_none(study, changes):
    """No process ends with such a code."""
    folder = StudyFolder(str(study))
    with folder.claim(None):
        folder.remember_failure("run", CONFIGURATION, 3, "diverged", 1.0)
    path = study / "failures" / "run.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    assert folder.failure("run", CONFIGURATION) is None


def test_what_else_a_failure_holds_is_ignored(study):
    folder = StudyFolder(str(study))
    with folder.claim(None):
        folder.remember_failure("run", CONFIGURATION, 3, "diverged", 1.0)
    path = study / "failures" / "run.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"note": "mine"}))
    assert set(folder.failure("run", CONFIGURATION)) == {"exit_code", "message", "seconds"}


@pytest.mark.parametrize("make", [os.mkfifo, lambda path: path.symlink_to("../outside/log")])
def test_a_log_that_is_a_pipe_or_a_link_is_refused(study, monkeypatch, make):
    """A pipe would be waited for, and through a link the output would join any file."""
    monkeypatch.setattr(running.interpreter, "command", lambda *words: [sys.executable, "-c", "print(1)"])
    make(study / "log")
    job = Job(planned_run(0, {}, 0), (("train",),), str(study / "run"), str(study / "log"))
    with pytest.raises(EnvironmentFailure, match=r"`vaeflow train` cannot be started for"):
        running.RunningJob(job)
