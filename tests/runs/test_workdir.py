"""A run's folder: its lock, its one configuration, and files that are whole."""

import contextlib
import json
import math
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile

import pytest

from tests.fixtures.disk import full_disk
from vaeflow.errors import ConfigurationError, EnvironmentFailure
from vaeflow.runs import provenance
from vaeflow.runs.workdir import WorkDir

NOBODY = 65534

# Holds a folder's lock until its input is closed or it is killed.
HOLDER = """
import sys
from vaeflow.runs.workdir import WorkDir
with WorkDir(sys.argv[1]).claim():
    print("held", flush=True)
    sys.stdin.read()
"""


@contextlib.contextmanager
def held_elsewhere(path):
    command = [sys.executable, "-c", HOLDER, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout.readline() == b"held\n"
        yield holder


@pytest.mark.processes
def test_a_folder_in_use_is_refused_until_the_other_run_ends(tmp_path):
    folder = WorkDir(tmp_path / "run")
    with held_elsewhere(folder.path) as holder:
        with pytest.raises(EnvironmentFailure, match=r"in use by a live run.*--workdir"), folder.claim():
            pytest.fail("two runs hold one folder")
        holder.stdin.close()
        assert holder.wait(timeout=20) == 0
        with folder.claim():
            pass


@pytest.mark.processes
def test_the_lock_of_a_killed_run_is_free(tmp_path):
    folder = WorkDir(tmp_path / "run")
    with held_elsewhere(folder.path) as holder:
        holder.kill()
        assert holder.wait(timeout=20) == -signal.SIGKILL
        with folder.claim():
            pass


def test_the_lock_is_free_after_an_error(tmp_path):
    folder = WorkDir(tmp_path / "run")
    with pytest.raises(RuntimeError), folder.claim():
        raise RuntimeError
    with folder.claim():
        pass


def test_a_failure_before_anything_is_written_leaves_no_folder(tmp_path):
    folder = WorkDir(tmp_path / "runs" / "one")
    with pytest.raises(ConfigurationError), folder.claim():
        raise ConfigurationError("the data does not fit")
    assert not folder.path.exists()


def test_a_failure_keeps_a_folder_that_was_there_or_was_filled(tmp_path):
    mine = tmp_path / "mine"
    mine.mkdir()
    with pytest.raises(RuntimeError), WorkDir(mine).claim():
        raise RuntimeError
    assert mine.is_dir()
    folder = WorkDir(tmp_path / "run")

    def fail_after_a_log():
        with folder.claim():
            folder.append_metrics({"step": 1})
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail_after_a_log()
    assert folder.read_metrics() == [{"step": 1}]


def test_a_file_in_place_of_the_folder(tmp_path):
    path = tmp_path / "run"
    path.write_text("mine")
    for taken in (path, path / "below"):
        with pytest.raises(EnvironmentFailure, match=r"cannot be written.*--workdir"), WorkDir(taken).claim():
            pytest.fail("claimed a file")
    assert path.read_text() == "mine"
    with pytest.raises(EnvironmentFailure, match="it is a file"), WorkDir(path).claim():
        pass


@pytest.fixture
def as_somebody_without_rights():
    """Lets the test, where root runs it, act as a user whom the modes of files bind."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(NOBODY)
    yield
    os.seteuid(0)


@pytest.fixture
def public_folder():
    """An empty folder that any user can reach, unlike pytest's own."""
    folder = pathlib.Path(tempfile.mkdtemp())
    folder.chmod(0o777)
    yield folder
    shutil.rmtree(folder)


@pytest.mark.processes
def test_a_folder_without_write_permission(public_folder, request):
    closed, open_ = public_folder / "closed", public_folder / "open"
    closed.mkdir(mode=0o555)
    request.getfixturevalue("as_somebody_without_rights")
    for path in (closed, closed / "run"):
        with pytest.raises(EnvironmentFailure, match=r"Permission denied.*--workdir"), WorkDir(path).claim():
            pytest.fail("claimed a read-only folder")
    # The same user may claim another.
    with WorkDir(open_).claim():
        pass


def test_another_configuration_is_refused_with_the_difference(tmp_path):
    folder = WorkDir(tmp_path)
    folder.check_configuration("train.num_steps = 1\n")
    folder.write_provenance("train.num_steps = 1\ntrain.seed = 3\n", "", {})
    folder.check_configuration("train.num_steps = 1\ntrain.seed = 3\n")
    with pytest.raises(ConfigurationError) as caught:
        folder.check_configuration("train.num_steps = 2\ntrain.seed = 3\n")
    message = str(caught.value)
    assert "  -train.num_steps = 1\n  +train.num_steps = 2\n" in message
    assert "train.seed" not in message
    assert "--allow_config_change" in message
    assert str(tmp_path) in message
    folder.check_configuration("train.num_steps = 2\n", allow_change=True)
    assert (tmp_path / "config.gin").read_text() == "train.num_steps = 1\ntrain.seed = 3\n"


def test_provenance(tmp_path):
    WorkDir(tmp_path).write_provenance("a = 1\n", "b = 2\n", {"model": "VAE, 10 weights"})
    assert (tmp_path / "config.gin").read_text() == "a = 1\n"
    assert (tmp_path / "operative_config.gin").read_text() == "b = 2\n"
    environment = json.loads((tmp_path / "environment.json").read_text())
    assert environment["command"] == sys.argv
    assert environment["python"] == ".".join(map(str, sys.version_info[:3]))
    assert environment["model"] == "VAE, 10 weights"
    assert re.fullmatch(r"\d+\.\d+\.\d+", environment["packages"]["tensorflow"])
    assert set(environment["packages"]) == {
        "vaeflow", "tensorflow", "keras", "numpy", "gin-config", "tensorboard"
    }  # fmt: skip
    assert environment["platform"]
    assert "git_revision" in environment


@pytest.mark.processes
def test_the_git_revision_of_the_code_or_none(tmp_path, monkeypatch):
    copy = tmp_path / "package" / "runs" / "provenance.py"
    copy.parent.mkdir(parents=True)
    copy.touch()
    record = tmp_path / "record.json"
    record.touch()
    monkeypatch.setattr(provenance, "__file__", str(copy))
    assert provenance.git_revision() is None

    def git(*arguments):
        identity = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
        done = subprocess.run(
            ["git", "-C", str(tmp_path), *identity, *arguments], check=True, capture_output=True, text=True
        )
        return done.stdout.strip()

    git("init")
    git("add", ".")
    git("commit", "-m", "one")
    assert provenance.git_revision() == git("rev-parse", "HEAD")
    record.write_text("what a study wrote beside the code")
    assert provenance.git_revision() == git("rev-parse", "HEAD")
    copy.write_text("edited")
    assert provenance.git_revision() == git("rev-parse", "HEAD") + "+changes"
    # Its index is out of date, and `git describe --dirty` would leave a lock behind in writing it.
    with full_disk(kilobytes=0):
        assert provenance.git_revision() == git("rev-parse", "HEAD") + "+changes"
    assert not (tmp_path / ".git" / "index.lock").exists()


def test_metrics_after_the_restored_step_are_dropped(tmp_path):
    folder = WorkDir(tmp_path)
    assert folder.read_metrics() == []
    for step in (10, 20, 30):
        folder.append_metrics({"step": step, "train/loss": step / 10})
    folder.start_metrics(20)
    folder.append_metrics({"step": 30, "train/loss": 7.0})
    assert folder.read_metrics() == [
        {"step": 10, "train/loss": 1.0},
        {"step": 20, "train/loss": 2.0},
        {"step": 30, "train/loss": 7.0},
    ]
    folder.start_metrics(0)
    assert (tmp_path / "metrics.jsonl").read_text() == ""


def test_what_is_not_finite_is_null_in_the_file_and_nan_when_read(tmp_path):
    """A strict reader of JSON refuses a file with NaN in it."""

    def refuse(constant):
        raise ValueError(constant)

    folder = WorkDir(tmp_path)
    folder.append_metrics({"step": 1, "loss": math.nan, "kl": math.inf, "elbo": -1.5})
    for _ in range(2):
        (line,) = (tmp_path / "metrics.jsonl").read_text().splitlines()
        metrics = json.loads(line, parse_constant=refuse)
        assert metrics == {"step": 1, "loss": None, "kl": None, "elbo": -1.5}
        (read,) = folder.read_metrics()
        assert math.isnan(read.pop("loss"))
        assert math.isnan(read.pop("kl"))
        assert read == {"step": 1, "elbo": -1.5}
        folder.start_metrics(1)


def test_a_last_line_that_was_cut_off_is_left_out(tmp_path):
    folder = WorkDir(tmp_path)
    for step in (10, 20):
        folder.append_metrics({"step": step, "train/loss": 1.25})
    path = tmp_path / "metrics.jsonl"
    whole = path.read_text()
    for cut in range(1, len('{"step": 20, "train/loss": 1.25}\n')):
        path.write_text(whole[:-cut])
        kept = [10, 20] if cut == 1 else [10]  # Without its line break alone, a line is whole.
        assert [line["step"] for line in folder.read_metrics()] == kept
        folder.start_metrics(20)
        folder.append_metrics({"step": 30})
        assert [line["step"] for line in folder.read_metrics()] == [*kept, 30]


def test_a_json_file_is_written_whole_or_not_at_all(tmp_path):
    folder = WorkDir(tmp_path)
    assert folder.result() is None
    folder.write_json("result.json", {"step": 1})
    assert folder.result() == {"step": 1}
    refusal = "result.json cannot be written.*File too large"
    with full_disk(4), pytest.raises(EnvironmentFailure, match=refusal):
        folder.write_json("result.json", {"step": 2, "weights_sha256": "0" * 5000})
    assert folder.result() == {"step": 1}
    assert [path.name for path in tmp_path.iterdir()] == ["result.json"]


def test_a_full_disk_at_a_log(tmp_path):
    folder = WorkDir(tmp_path)

    def log_many():
        for step in range(1000):
            folder.append_metrics({"step": step})

    with (
        full_disk(4),
        pytest.raises(EnvironmentFailure, match=r"metrics\.jsonl cannot be written.*File too large"),
    ):
        log_many()
    lines = folder.read_metrics()
    assert [line["step"] for line in lines] == list(range(len(lines)))
    assert len(lines) > 100
