"""`vaeflow record`: what a record of a finished run holds, and what it refuses."""

import json
import math
import re
import shutil

import pytest

from tests.fixtures import trained_runs
from tests.fixtures.commands import Command
from vaeflow.commands import command_line
from vaeflow.commands.programs import record
from vaeflow.runs import machine

pytestmark = pytest.mark.slow  # Each test has a trained run.


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    """A finished run; tests leave it as it is."""
    return trained_runs.trained_folder(tmp_path_factory.mktemp("recorded"), "train.seed = 7")


@pytest.fixture
def copied(workdir, tmp_path):
    """A finished run that a test may damage."""
    return shutil.copytree(workdir, tmp_path / "copied")


def written(folder, *flags):
    """Runs the command in this process; returns the record's text."""
    results = folder.parent / "results"
    arguments = [f"--workdir={folder}", f"--results={results}", *flags]
    assert command_line.main(record.COMMAND, arguments) == 0
    (path,) = results.glob("*")
    return path.read_text()


def refusal(capsys, folder, *flags):
    """Runs the command where it must fail; returns its message."""
    results = folder.parent / "results"
    assert command_line.main(record.COMMAND, [f"--workdir={folder}", f"--results={results}", *flags]) == 2
    assert not results.exists()
    return capsys.readouterr().err


@pytest.mark.processes
def test_the_real_command_writes_the_record_where_it_is_called(workdir, tmp_path):
    finished = Command("vaeflow", ["record", f"--workdir={workdir}"], tmp_path).finish()
    assert finished.code == 0, finished.error
    assert finished.out == "written to results/run.json\n"
    assert json.loads((tmp_path / "results" / "run.json").read_text())["name"] == "run"


def test_what_a_record_holds(copied):
    found = json.loads(written(copied))
    result = json.loads((copied / "result.json").read_text())
    assert list(found) == [
        "name", "command", "seed", "revision", "machine", "versions", "run", "seconds", "metrics",
        "evaluation", "history", "weights_sha256", "configuration",
    ]  # fmt: skip
    assert found["seed"] == 7
    assert found["machine"] == machine.describe()
    assert found["versions"]["vaeflow"] or "vaeflow" in found["versions"]
    assert found["weights_sha256"] == result.pop("weights_sha256")
    assert found["metrics"] == result
    assert found["seconds"] == result["wall_seconds"]
    assert found["evaluation"] is None
    assert found["history"]["step"] == [10, 20]
    assert found["history"]["evaluation/negative_elbo"][-1] == result["evaluation/negative_elbo"]
    assert "train.seed = 7" in found["configuration"]


def test_the_same_run_gives_the_same_bytes(copied):
    assert written(copied) == written(copied)


def test_no_path_of_the_machine_is_left(copied):
    environment = json.loads((copied / "environment.json").read_text())
    environment["command"] = [
        "/home/me/clone/launch/train.py",
        "--gin_file=/home/me/tiny.gin",
        "--gin_param=Arrays.train = '/home/me/my data/train.npz'",
        "--workdir=/scratch/run",
    ]
    (copied / "environment.json").write_text(json.dumps(environment))
    text = written(copied)
    assert not re.search(r"""["'= ]/\w""", text)
    assert json.loads(text)["command"] == (
        "vaeflow train --gin_file=tiny.gin '--gin_param=Arrays.train = '\"'\"'train.npz'\"'\"'' --workdir=run"
    )


@pytest.mark.parametrize(
    "program", ["/venv/bin/vaeflow", "/site-packages/vaeflow/__main__.py", "/clone/launch/train.py"]
)
def test_the_command_is_the_same_however_it_was_called(copied, program):
    environment = json.loads((copied / "environment.json").read_text())
    command = [] if program.endswith("train.py") else ["train"]
    environment["command"] = [program, *command, "--gin_file=x.gin"]
    (copied / "environment.json").write_text(json.dumps(environment))
    assert json.loads(written(copied))["command"] == "vaeflow train --gin_file=x.gin"


def test_an_evaluation_is_part_of_it(copied):
    (copied / "evaluation.json").write_text(json.dumps({"metrics": {"nll": None, "kl": 2.5}}))
    assert json.loads(written(copied))["evaluation"] == {"metrics": {"nll": None, "kl": 2.5}}


def test_the_settings_of_an_evaluation_are_without_paths_too(copied):
    evaluation = {
        "metrics": {"kl": 2.5},
        "configuration": "evaluate.seed = 1\nFeatureNet.file = '/me/net.keras'\n",
    }
    (copied / "evaluation.json").write_text(json.dumps(evaluation))
    expected = ["evaluate.seed = 1", "FeatureNet.file = 'net.keras'"]
    assert json.loads(written(copied))["evaluation"]["configuration"] == expected


def test_an_evaluation_that_is_not_finite_is_refused(copied, capsys):
    (copied / "evaluation.json").write_text(json.dumps({"metrics": {"nll": math.nan}}))
    assert "evaluation.json is not what a run writes: it holds NaN" in refusal(capsys, copied)


def test_a_name_of_its_own(copied):
    assert json.loads(written(copied, "--name=vae_mnist"))["name"] == "vae_mnist"
    assert (copied.parent / "results" / "vae_mnist.json").exists()


def test_a_run_of_an_older_version_has_no_machine(copied):
    environment = json.loads((copied / "environment.json").read_text())
    del environment["machine"]
    (copied / "environment.json").write_text(json.dumps(environment))
    assert json.loads(written(copied))["machine"] is None


def test_a_run_that_is_not_finished_is_refused(copied, capsys):
    (copied / "result.json").unlink()
    assert "is not finished: there is no result.json; run its command again" in refusal(capsys, copied)


def test_a_run_that_went_on_after_its_result_is_refused(copied, capsys):
    with (copied / "metrics.jsonl").open("a") as file:
        file.write('{"step": 25}\n')
    assert "result.json is of step 20, metrics.jsonl of step 25" in refusal(capsys, copied)


def test_what_is_no_work_folder_is_refused(tmp_path, capsys):
    folder = tmp_path / "empty"
    assert "there is no such folder" in refusal(capsys, folder)
    folder.mkdir()
    assert "is not the work folder of a run: there is no config.gin" in refusal(capsys, folder)


def test_a_damaged_file_is_named(copied, capsys):
    (copied / "environment.json").write_text('{"command": [')
    assert "environment.json is not what a run writes: line 1 is no JSON" in refusal(capsys, copied)


@pytest.mark.parametrize("name", ["../x", "", ".hidden", "a/b"])
def test_a_name_that_leads_elsewhere_is_refused(copied, capsys, name):
    assert "cannot be the name of a file" in refusal(capsys, copied, f"--name={name}")


def test_without_a_work_folder(capsys):
    assert command_line.main(record.COMMAND, []) == 2
    assert "give --workdir=" in capsys.readouterr().err
