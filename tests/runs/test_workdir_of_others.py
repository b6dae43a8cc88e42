"""A folder with damaged files, files of others, and links."""

import os
import shutil
import subprocess

import pytest

from vaeflow.errors import ConfigurationError, EnvironmentFailure
from vaeflow.runs import provenance
from vaeflow.runs.workdir import WorkDir

LINE = '{"step": 20, "train/loss": 1.5}'


@pytest.mark.parametrize(
    "bad",
    [b"[]", b"5", b"null",
     b"{}", b'{"step": "a"}', b'{"step": null}', b'{"step": 1, "kl": "x"}', b'{"\xff": 1}',
     b'{"step": 1, "kl": NaN}',
     b'{"step": 1, "step": 2}', b"[" * 100_000, b"", b'{"step": true}'],
)  # fmt: skip
def test_a_bad_line_of_the_metrics_is_left_out_with_its_place(tmp_path, caplog, bad):
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(b'{"step": 10}\n' + bad + f"\n{LINE}\n".encode())
    folder = WorkDir(tmp_path)
    assert [line["step"] for line in folder.read_metrics()] == [10, 20]
    assert f"line 2 of {path} is left out" in caplog.text
    folder.start_metrics(20)
    assert path.read_text() == f'{{"step": 10}}\n{LINE}\n'


def test_metrics_that_are_no_file_are_left_out(tmp_path):
    os.mkfifo(tmp_path / "metrics.jsonl")
    folder = WorkDir(tmp_path)
    assert folder.read_metrics() == []
    folder.start_metrics(0)
    assert (tmp_path / "metrics.jsonl").read_text() == ""


@pytest.mark.parametrize("bad", [b"", b"[]", b"{}", b'{"step": "1"}', b"\xff", b"[" * 100_000])
def test_a_damaged_result_counts_as_none(tmp_path, caplog, bad):
    (tmp_path / "result.json").write_bytes(bad)
    assert WorkDir(tmp_path).result() is None
    assert "result.json is left out: " in caplog.text


def test_a_configuration_that_is_not_utf8_is_refused_with_its_line(tmp_path):
    (tmp_path / "config.gin").write_bytes(b"a = 1\nb = '\xe9'\n")
    folder = WorkDir(tmp_path)
    with pytest.raises(ConfigurationError, match=r"config\.gin cannot be read as text: line 2 is not UTF-8"):
        folder.check_configuration("a = 1\n")
    folder.check_configuration("a = 1\n", allow_change=True)


def test_a_configuration_is_utf8_in_any_locale(tmp_path):
    folder = WorkDir(tmp_path)
    folder.write_provenance("a = 'é'\n", "", {})
    assert (tmp_path / "config.gin").read_bytes() == "a = 'é'\n".encode()
    folder.check_configuration("a = 'é'\n")


def test_a_folder_of_the_users_own_is_not_filled(tmp_path):
    (tmp_path / "thesis.tex").write_text("mine")
    refusal = r"not a run's: thesis\.tex; choose.*--workdir"
    with pytest.raises(ConfigurationError, match=refusal), WorkDir(tmp_path).claim():
        pytest.fail("claimed")
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


@pytest.mark.parametrize(
    "name", ["mine.gin", "slurm-7.out", "train.log", ".gitignore", "lost+found", "workers", "ray"]
)
def test_what_is_written_before_a_run_does_not_hinder_it(tmp_path, name):
    (tmp_path / name).mkdir()
    with WorkDir(tmp_path).claim():
        pass


def test_a_run_may_have_files_of_its_users_in_it(tmp_path):
    folder = WorkDir(tmp_path)
    folder.append_metrics({"step": 1})
    (tmp_path / "notes.txt").write_text("mine")
    with folder.claim():
        pass


def test_a_folder_that_is_removed_in_between_does_not_hide_what_happened(tmp_path):
    folder = WorkDir(tmp_path / "run")

    def lose_it():
        with folder.claim():
            shutil.rmtree(folder.path)
            folder.append_metrics({"step": 1})

    with pytest.raises(EnvironmentFailure, match=r"metrics\.jsonl cannot be written.*put the folder back"):
        lose_it()
    assert not folder.path.exists()


@pytest.mark.parametrize("names", [("images",), ("tensorboard",), ("tensorboard", "projector"), ("trace",)])
def test_a_link_does_not_lead_out_of_the_folder(tmp_path, names):
    folder = WorkDir(tmp_path / "run")
    folder.path.joinpath(*names[:-1]).mkdir(parents=True)
    for target in (tmp_path, tmp_path / "nowhere", "../.."):
        folder.path.joinpath(*names).symlink_to(target)
        with pytest.raises(EnvironmentFailure, match="is a link that leads out of the work folder"):
            folder.place(*names)
        folder.path.joinpath(*names).unlink()
    folder.path.joinpath(*names).symlink_to(folder.path / "inside")
    assert folder.place(*names).name == names[-1]


def test_the_whole_folder_may_be_a_link(tmp_path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "run").symlink_to(tmp_path / "disk")
    assert WorkDir(tmp_path / "run").checkpoints == tmp_path / "run" / "checkpoints"


@pytest.mark.processes
def test_the_revision_of_the_users_own_project_is_not_ours(tmp_path, monkeypatch):
    """As where vaeflow is installed in a `.venv` that the project ignores."""
    copy = tmp_path / ".venv" / "provenance.py"
    copy.parent.mkdir()
    copy.touch()
    (tmp_path / ".gitignore").write_text(".venv\n")
    monkeypatch.setattr(provenance, "__file__", str(copy))
    for arguments in (["init"], ["add", "."], ["commit", "-m", "one"]):
        identity = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
        subprocess.run(["git", "-C", str(tmp_path), *identity, *arguments], check=True, capture_output=True)
    monkeypatch.setenv("GIT_DIR", str(tmp_path / ".git"))
    assert provenance.git_revision() is None
