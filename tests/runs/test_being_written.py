"""What other processes left unfinished is removed if they are gone, however soon, else left alone."""

import errno
import fcntl
import os
import subprocess
import sys

import pytest

from tests.fixtures.commands import REPOSITORY
from vaeflow.runs import being_written, files, processes

# Begins to write `a.json` and the folder `export` in the current folder, and never ends.
WRITER = """
import pathlib, time
from vaeflow.runs import files
with files.writing(pathlib.Path("a.json")) as file, files.staging(pathlib.Path(), "export"):
    print("writing", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def writer(tmp_path):
    options = {
        "cwd": tmp_path,
        "stdout": subprocess.PIPE,
        "env": os.environ | {"PYTHONPATH": str(REPOSITORY)},
    }
    with processes.child([sys.executable, "-c", WRITER], **options) as writer:
        assert writer.stdout.readline() == b"writing\n"
        yield writer


def names(folder):
    return sorted(path.name.rpartition("-")[0] or path.name for path in folder.iterdir())


def write(folder):
    files.write_text(folder / "a.json", "new")
    with files.staging(folder, "export"):
        pass


@pytest.mark.processes
def test_what_a_process_left_that_was_killed_just_now_is_removed(tmp_path, writer):
    writer.kill()
    writer.wait()
    write(tmp_path)
    assert names(tmp_path) == ["a.json"]


@pytest.mark.processes
def test_what_a_process_writes_is_left_alone(tmp_path, writer):
    write(tmp_path)
    assert names(tmp_path) == [".unfinished-a.json", ".unfinished-export", "a.json"]
    assert writer.poll() is None


@pytest.mark.parametrize("new", [being_written.new_file, being_written.new_folder])
@pytest.mark.parametrize("removed", [True, False], ids=["removed", "about to be removed"])
def test_what_was_taken_for_abandoned_before_it_was_locked_is_made_again(tmp_path, monkeypatch, new, removed):
    flock = fcntl.flock
    found = []

    def late(descriptor, operation):
        """The first lock comes late: another process has the file or folder by then."""
        if found:
            return flock(descriptor, operation)
        (path,) = tmp_path.iterdir()
        found.append(path)
        with being_written.abandoned(path) as is_abandoned:
            assert is_abandoned
            if removed:
                path.rmdir() if path.is_dir() else path.unlink()
            else:
                return flock(descriptor, operation)
        return flock(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", late)
    path, descriptor = new(tmp_path, "a.json")
    os.close(descriptor)
    assert path.exists()
    assert path != found[0]


def test_a_folder_that_was_removed_before_it_was_opened_is_made_again(tmp_path, monkeypatch):
    real = os.open
    removed = []

    def late(path, *arguments):
        if not removed:
            removed.append(path)
            path.rmdir()
        return real(path, *arguments)

    monkeypatch.setattr(os, "open", late)
    path, descriptor = being_written.new_folder(tmp_path, "export")
    os.close(descriptor)
    assert path.is_dir()
    assert path != removed[0]


@pytest.mark.parametrize(("seconds", "is_abandoned"), [(80_000, False), (90_000, True)])
def test_without_locks_its_age_says_whether_it_was_abandoned(tmp_path, monkeypatch, seconds, is_abandoned):
    def no_locks(descriptor, operation):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", no_locks)
    path, descriptor = being_written.new_file(tmp_path, "a.json")
    os.close(descriptor)
    begun = path.stat().st_mtime - seconds
    os.utime(path, (begun, begun))
    with being_written.abandoned(path) as found:
        assert found == is_abandoned
