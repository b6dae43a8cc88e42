"""Folders that take the place of others, and names that somebody prepared."""

import concurrent.futures
import ctypes
import errno
import os
import stat
import threading

import pytest

from vaeflow.errors import EnvironmentFailure
from vaeflow.runs import files

TOKEN = "0123456789abcdef"


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def folder_with(path, text):
    path.mkdir()
    (path / "content").write_text(text)
    return path


@pytest.fixture(params=["exchanged in one step", "by two renames"])
def either_way(request, monkeypatch):
    if request.param == "by two renames":
        monkeypatch.setattr(files, "exchange", lambda one, other: False)


def test_a_folder_takes_the_place_of_another(tmp_path, either_way):
    folder_with(tmp_path / "export", "old")
    files.move(folder_with(tmp_path / "new", "new"), tmp_path / "export")
    assert (tmp_path / "export" / "content").read_text() == "new"
    assert names(tmp_path) == ["export"]


def test_a_folder_takes_the_place_of_a_link_and_not_of_what_it_leads_to(tmp_path, either_way):
    folder_with(tmp_path / "precious", "mine")
    (tmp_path / "export").symlink_to(tmp_path / "precious")
    files.move(folder_with(tmp_path / "new", "new"), tmp_path / "export")
    assert (tmp_path / "export" / "content").read_text() == "new"
    assert not (tmp_path / "export").is_symlink()
    assert (tmp_path / "precious" / "content").read_text() == "mine"
    assert names(tmp_path) == ["export", "precious"]


def test_a_folder_takes_the_place_of_a_link_that_leads_nowhere(tmp_path, either_way):
    (tmp_path / "export").symlink_to(tmp_path / "nowhere")
    files.move(folder_with(tmp_path / "new", "new"), tmp_path / "export")
    assert (tmp_path / "export" / "content").read_text() == "new"
    assert names(tmp_path) == ["export"]


def test_a_folder_that_cannot_be_moved_leaves_the_old_one(tmp_path, either_way):
    folder_with(tmp_path / "export", "old")
    with pytest.raises(EnvironmentFailure, match="export cannot be written"):
        files.move(tmp_path / "gone", tmp_path / "export")
    assert (tmp_path / "export" / "content").read_text() == "old"
    assert names(tmp_path) == ["export"]


def test_the_old_folder_is_never_without_a_name(tmp_path, monkeypatch):
    """Two renames leave a moment in which a kill loses it."""
    folder_with(tmp_path / "export", "old")
    renames = []
    monkeypatch.setattr(files.Path, "rename", lambda path, to: renames.append(to) or os.rename(path, to))  # noqa: PTH104
    files.move(folder_with(tmp_path / "new", "new"), tmp_path / "export")
    assert renames == [tmp_path / "export"]  # Tried first, and refused by the system.


def test_a_kill_between_two_renames_loses_nothing(tmp_path, monkeypatch):
    """Nor does a failure of the next start, which finds the old one again."""
    monkeypatch.setattr(files, "exchange", lambda one, other: False)
    folder_with(tmp_path / "export", "old")
    rename, calls = files.Path.rename, []

    def killed(path, to):
        calls.append(to)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return rename(path, to)

    monkeypatch.setattr(files.Path, "rename", killed)
    with pytest.raises(KeyboardInterrupt):
        files.move(folder_with(tmp_path / "new", "new"), tmp_path / "export")
    assert not (tmp_path / "export").exists()
    monkeypatch.setattr(files.Path, "rename", rename)
    with pytest.raises(RuntimeError), files.staging(tmp_path, "export"):
        raise RuntimeError
    assert (tmp_path / "export" / "content").read_text() == "old"
    assert names(tmp_path) == ["export", "new"]


def test_what_was_replaced_does_not_come_back(tmp_path):
    folder_with(tmp_path / f".replaced-export-{TOKEN}", "old")
    folder_with(tmp_path / "export", "new")
    files.remove_unfinished(tmp_path)
    assert (tmp_path / "export" / "content").read_text() == "new"
    assert names(tmp_path) == ["export"]


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.EINVAL])
def test_a_system_without_the_exchange_of_names(tmp_path, monkeypatch, number):
    class Library:
        @staticmethod
        def renameat2(*arguments):
            ctypes.set_errno(number)
            return -1

    monkeypatch.setattr(ctypes, "CDLL", lambda *arguments, **named: Library)
    folder_with(tmp_path / "export", "old")
    files.move(folder_with(tmp_path / "new", "new"), tmp_path / "export")
    assert (tmp_path / "export" / "content").read_text() == "new"
    monkeypatch.setattr(ctypes, "CDLL", lambda *arguments, **named: object())
    files.move(folder_with(tmp_path / "new", "newer"), tmp_path / "export")
    assert (tmp_path / "export" / "content").read_text() == "newer"
    assert names(tmp_path) == ["export"]


def test_a_disk_that_cannot_flush_folders(tmp_path, monkeypatch):
    def fails(descriptor):
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "Invalid argument")

    monkeypatch.setattr(os, "fsync", fails)
    files.write_text(tmp_path / "a.json", "new")
    assert (tmp_path / "a.json").read_text() == "new"


def test_appending_follows_no_link(tmp_path):
    (tmp_path / "precious").write_text("mine")
    (tmp_path / "metrics.jsonl").symlink_to(tmp_path / "precious")
    with pytest.raises(EnvironmentFailure, match=r"metrics\.jsonl cannot be written.*remove the link"):
        files.append_text(tmp_path / "metrics.jsonl", "more")
    assert (tmp_path / "precious").read_text() == "mine"


def test_appending_does_not_wait_for_a_reader_of_a_pipe(tmp_path):
    os.mkfifo(tmp_path / "metrics.jsonl")
    with pytest.raises(EnvironmentFailure, match="cannot be written"):
        files.append_text(tmp_path / "metrics.jsonl", "more")


def test_a_folder_that_was_removed_does_not_come_back(tmp_path):
    with pytest.raises(EnvironmentFailure, match="put the folder back where it was"):
        files.write_text(tmp_path / "gone" / "result.json", "{}")
    assert not (tmp_path / "gone").exists()


def test_two_processes_that_replace_a_folder_at_once_leave_it_whole_at_each_moment(tmp_path, monkeypatch):
    """Two renames leave moments without it, and one of two processes fails."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
    folder_with(tmp_path / "export", "first")
    done = threading.Event()

    def replace(name):
        for _ in range(100):
            with files.staging(tmp_path, "export") as unfinished:
                (unfinished / "content").write_text(name * 10)
                files.move(unfinished, tmp_path / "export")
        return name

    def look():
        seen = set()
        while not done.is_set():
            try:
                seen.add((tmp_path / "export" / "content").read_text())
            except FileNotFoundError:  # The folder was exchanged after it was opened; only then.
                seen.add("" if not (tmp_path / "export").exists() else "first")
        return seen

    with concurrent.futures.ThreadPoolExecutor(3) as pool:
        looking, *replacing = pool.submit(look), *(pool.submit(replace, name) for name in "ab")
        concurrent.futures.wait(replacing)
        done.set()
    assert [each.result() for each in replacing] == ["a", "b"]
    assert looking.result() <= {"first", "a" * 10, "b" * 10}
    assert names(tmp_path) == ["export"]
