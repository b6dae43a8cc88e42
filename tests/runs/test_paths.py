"""A path that can name no file of this machine is refused where it is given."""

import pathlib

import pytest

from vaeflow import config, validation
from vaeflow.commands import command_line, programs
from vaeflow.errors import ConfigurationError
from vaeflow.runs import paths
from vaeflow.runs.workdir import WorkDir

REFUSED = {
    "": "it is empty",
    "x" * 300: "one of its names has 300 bytes",
    "é" * 200: "one of its names has 400 bytes",
    "x/" * 2000: "it has 4",
    "a\0b": "a NUL character",
    "a\udcff": "it is not UTF-8",
    "gs://bucket/run": "gs:// is not for a file of this machine",
    "s3://bucket/run": "s3:// is not for",
    "file:///tmp/run": "write the path without it",
    "~no_such_user/run": "the home folder that `~` stands for is not known",
}
FLAGS = [
    (name, flag)
    for name in programs.NAMES
    for flag in sorted(command_line._PATHS)
    if flag in programs.load(name).flag_values()
]


@pytest.mark.parametrize("path", REFUSED)
def test_what_names_no_file_here_is_refused(path):
    with pytest.raises(ValueError, match=REFUSED[path]):
        paths.local(path)


@pytest.mark.parametrize("path", [None, 3, b"bytes", ["a"]])
def test_what_is_no_text_is_refused(path):
    with pytest.raises(ValueError, match="a path is text"):
        paths.local(path)


@pytest.mark.parametrize("path", ["a", "a b/ü", "/nowhere/at all", "x" * 255, "a:b", ".", "lr=[1e-3]/*"])
def test_any_other_path_passes(path):
    assert paths.local(path) == pathlib.Path(path)


def test_the_home_folder_is_written_out(monkeypatch):
    monkeypatch.setenv("HOME", "/home/somebody")
    assert paths.local("~/run") == pathlib.Path("/home/somebody/run")


def test_links_in_a_circle(tmp_path):
    (tmp_path / "circle").symlink_to("circle")
    with pytest.raises(ValueError, match="symbolic links"):
        paths.local(tmp_path / "circle" / "run")


def test_a_current_folder_that_was_deleted(tmp_path, monkeypatch, capsys):
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    assert command_line.main(programs.load("train"), ["--gin_file=vae.gin"]) == 2
    error = capsys.readouterr().err
    assert "--gin_file=vae.gin: the current folder was deleted; change to another one" in error


def test_the_flags_that_are_paths_are_known():
    assert len(FLAGS) > 12
    assert ("train", "workdir") in FLAGS
    assert ("record", "results") in FLAGS


@pytest.mark.parametrize(("name", "flag"), FLAGS)
@pytest.mark.parametrize("path", ["", "x" * 300, "gs://bucket/run", "a\udcff"])
def test_every_command_refuses_such_a_path_and_names_the_flag(capsys, name, flag, path):
    code = command_line.main(programs.load(name), [f"--{flag}={path}"])
    error = capsys.readouterr().err
    assert code == 2
    assert f"--{flag}=" in error
    assert REFUSED[path] in error
    assert error.count("\n") == 1


def test_the_default_work_folder_is_checked_too():
    values, _ = command_line.parse(programs.load("benchmark"), [f"--gin_file={'x' * 250}.gin"])
    with pytest.raises(ConfigurationError, match="one of its names has 260 bytes"):
        command_line.workdir(values, prefix="benchmark-")


def test_a_work_folder_from_python_is_checked():
    with pytest.raises(ConfigurationError, match="s3:// is not for a file of this machine"):
        WorkDir("s3://bucket/run")


def test_a_setting_is_named():
    with pytest.raises(ValueError, match=r"`ImageFolder.folder` must be a local path, got 'gs://b': gs://"):
        validation.path("ImageFolder.folder", "gs://b")


def test_an_include_is_named_with_its_place(toys):
    (toys / "x.gin").write_text(f"\ninclude '{'x' * 300}'")
    with pytest.raises(
        ConfigurationError, match=r"^x.gin:2: `include 'x+…x+'`: one of its names has 300 bytes"
    ):
        config.load("rehearse", ["x.gin"])
