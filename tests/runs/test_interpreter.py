"""The current folder is on nobody's import path, however it is named there."""

import os
import subprocess
import sys

import pytest

from tests.fixtures.commands import REPOSITORY
from vaeflow.runs import interpreter

ENTRIES = ("", ".", "{here}", "{here}/", "{link}", "below/..")


@pytest.fixture
def here(tmp_path, monkeypatch):
    folder = tmp_path / "here"
    (folder / "below").mkdir(parents=True)
    (tmp_path / "link").symlink_to(folder)
    monkeypatch.chdir(folder)
    return folder


def entry(text, here):
    return text.format(here=here, link=here.parent / "link")


@pytest.mark.parametrize("text", ENTRIES)
def test_every_name_of_the_current_folder_is_taken_off_the_path(here, monkeypatch, text):
    monkeypatch.setattr(sys, "path", ["/one", entry(text, here), "/two", entry(text, here)])
    interpreter.leave_current_folder()
    assert sys.path == ["/one", "/two"]


@pytest.mark.parametrize("text", ENTRIES)
def test_nothing_counts_as_installed_in_the_current_folder(here, monkeypatch, text):
    monkeypatch.setattr(sys, "path", [entry(text, here), "/one"])
    assert interpreter.installed_path() == ["/one"]


def test_the_folder_of_vaeflow_itself_moves_to_the_end(monkeypatch):
    monkeypatch.chdir(REPOSITORY)
    monkeypatch.setattr(sys, "path", ["", "/one"])
    interpreter.leave_current_folder()
    assert sys.path == ["/one", str(REPOSITORY)]


def test_a_folder_of_installed_packages_moves_to_the_end(tmp_path, monkeypatch):
    folder = tmp_path / "site-packages"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "path", [str(folder), "/one"])
    interpreter.leave_current_folder()
    assert sys.path == ["/one", str(folder)]
    assert interpreter.installed_path() == ["/one", str(folder)]


@pytest.mark.processes
def test_a_child_process_leaves_the_current_folder_before_it_imports_anything(here, monkeypatch):
    for name in ("json", "importlib", "re"):
        (here / f"{name}.py").write_text("raise SystemExit('the current folder hides a library')")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(["", ".", str(REPOSITORY), str(here)]))
    monkeypatch.setattr(sys, "path", list(sys.path))
    interpreter.leave_current_folder()
    assert os.environ["PYTHONPATH"] == str(REPOSITORY)
    done = subprocess.run(interpreter.command("json.tool", "--help"), capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
