"""The lock of a folder, also on a disk that offers no locks."""

import errno
import fcntl
import json
import os

import pytest

from vaeflow.errors import EnvironmentFailure
from vaeflow.runs import lock
from vaeflow.runs.workdir import WorkDir


@pytest.fixture(params=[errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EIO])
def without_locks(request, monkeypatch):
    def fails(file, operation):
        raise OSError(request.param, os.strerror(request.param))

    monkeypatch.setattr(fcntl, "flock", fails)
    return os.strerror(request.param)


def test_a_file_takes_the_place_of_a_lock(tmp_path, without_locks, caplog):
    """Before, the folder was said to be in use by a live run."""
    with WorkDir(tmp_path).claim():
        assert f"offers no locks ({without_locks})" in caplog.text
        assert json.loads((tmp_path / ".lock-owner").read_text())["pid"] == os.getpid()
    assert not (tmp_path / ".lock-owner").exists()


@pytest.fixture
def no_locks(monkeypatch):
    def fails(file, operation):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", fails)


def test_a_live_owner_is_named(tmp_path, no_locks):
    expected = rf"in use by process {os.getpid()} on .*remove that file if the run lives no more"
    with (
        lock.held(tmp_path),
        pytest.raises(EnvironmentFailure, match=expected),
        lock.held(tmp_path),
    ):
        pytest.fail("two runs hold one folder")


def owner(**changes):
    return json.dumps({**lock._this_machine(), "pid": os.getpid(), "started": "1"} | changes)


def test_the_file_of_a_process_that_lives_no_more_is_taken(tmp_path, no_locks):
    """Its number may belong to another process by now: this one, started at another time."""
    (tmp_path / ".lock-owner").write_text(owner())
    with lock.held(tmp_path):
        assert json.loads((tmp_path / ".lock-owner").read_text())["started"] != "1"
    assert [path.name for path in tmp_path.iterdir()] == [".lock"]


@pytest.mark.parametrize(
    "content",
    [owner(host="elsewhere"), owner(boot="before"), "", "[]"],
    ids=["another machine", "before a reboot", "empty", "no object"],
)
def test_an_owner_that_cannot_be_asked_counts_as_alive(tmp_path, no_locks, content):
    (tmp_path / ".lock-owner").write_text(content)
    with pytest.raises(EnvironmentFailure, match="in use by"), lock.held(tmp_path):
        pytest.fail("taken from a run that may live")
    assert (tmp_path / ".lock-owner").read_text() == content


def test_a_link_under_the_name_of_the_lock_is_not_followed(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / ".lock").symlink_to(tmp_path / "precious")
    with pytest.raises(EnvironmentFailure, match="cannot be written"), WorkDir(tmp_path / "run").claim():
        pytest.fail("claimed")
    assert not (tmp_path / "precious").exists()
