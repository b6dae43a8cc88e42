"""A folder that fsspec reaches: which URLs, written whole, tried again, and no password in a message."""

import importlib.util
import sys

import pytest

from vaeflow.errors import ConfigurationError, EnvironmentFailure
from vaeflow.runs import remote_folder
from vaeflow.runs.remote_folder import RemoteFolder, check_url

PASSWORD = "geheim%21"


@pytest.fixture(autouse=True)
def pauses(monkeypatch):
    """The pauses between the tries, which take no time here."""
    taken = []
    monkeypatch.setattr(remote_folder.time, "sleep", taken.append)
    return taken


@pytest.fixture
def folder(tmp_path):
    return RemoteFolder("Mirror.url", f"file://{tmp_path}/there [*]?{{a}}")


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("runs/vae", "must be a URL such as gs://bucket/folder"),
        ("/runs/vae", "must be a URL"),
        ("s3://", "must be a URL"),
        ("memory:///", "must be a URL"),
        ("zip://a::memory://b", "must be a URL"),
        ("memory://a\n", "must be a URL"),
        (3, "must be a URL .* got 3"),
        (None, "must be a URL .* got None"),
        ("nowhere://bucket/runs", "begins with nowhere://, which no installed library knows"),
        (f"nowhere//me:{PASSWORD}@a://b", "must be a URL"),
    ],
)
def test_what_is_no_url_of_a_folder_is_refused(url, expected):
    with pytest.raises(ConfigurationError, match=expected) as caught:
        check_url("Mirror.url", url)
    assert "`Mirror.url`" in str(caught.value)


def test_a_missing_library_is_named_with_the_command_that_brings_it(monkeypatch):
    registry = importlib.import_module("fsspec.registry")
    monkeypatch.delitem(registry._registry, "gs", raising=False)
    monkeypatch.setitem(registry.known_implementations, "gs", {"class": "none.N", "err": "Install gcsfs"})
    with pytest.raises(ConfigurationError, match=r"\(Install gcsfs\); pip install 'vaeflow\[cloud\]'"):
        check_url("Mirror.url", "gs://bucket/runs")
    monkeypatch.setitem(sys.modules, "fsspec", None)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigurationError, match=r"fsspec is missing; pip install 'vaeflow\[cloud\]'"):
        check_url("Mirror.url", "gs://bucket/runs")


def test_files_come_back_and_go_whatever_their_names_are(folder, tmp_path):
    (tmp_path / "local").write_bytes(b"local")
    assert folder.files() == {}
    assert folder.read("a/b") is None
    folder.write("a/b [1]*", b"one")
    folder.put(tmp_path / "local", "c?")
    assert sorted(folder.files()) == ["a/b [1]*", "c?"]
    assert folder.read("a/b [1]*") == b"one"
    folder.get("c?", tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == b"local"
    for name in ("a/b [1]*", "c?", "never"):
        folder.remove(name)
    assert folder.files() == {}
    assert not (tmp_path / "there [*]?{a}" / "a").exists()


def test_where_files_can_be_renamed_one_that_is_half_written_has_another_name(folder, tmp_path, monkeypatch):
    folder.write("a/b", b"old")
    system = type(folder._system)

    def killed(self, path, content, **_):
        with self.open(path, "wb") as file:
            file.write(content[:2])
        raise KeyboardInterrupt

    monkeypatch.setattr(system, "pipe_file", killed)
    with pytest.raises(KeyboardInterrupt):
        folder.write("a/b", b"new one")
    assert folder.read("a/b") == b"old"
    assert list(folder.files()) == ["a/b"]


def test_an_object_store_gets_each_file_at_once_though_its_library_can_move_objects(monkeypatch):
    """As gcsfs does: it would copy each object, and make folders of what are none."""
    folder = RemoteFolder("Mirror.url", "memory://moving")
    system = type(folder._system)
    monkeypatch.setattr(system, "async_impl", True)
    for method in ("mv", "makedirs", "rmdir"):
        monkeypatch.setattr(system, method, lambda *_, **__: pytest.fail("it is no disk"))
    folder.write("a/b", b"one")
    assert folder.read("a/b") == b"one"
    folder.remove("a/b")


def test_what_fails_is_tried_three_times(folder, pauses, monkeypatch):
    tries = []

    def fail(self, path):
        tries.append(path)
        if len(tries) < 6:
            raise ConnectionResetError("reset by peer")
        return b"at last"

    monkeypatch.setattr(type(folder._system), "cat_file", fail)
    with pytest.raises(EnvironmentFailure, match=r"/a cannot be read \(reset by peer\); check the address"):
        folder.read("a")
    assert (len(tries), pauses) == (3, [1.0, 4.0])
    assert folder.read("a") == b"at last"
    assert len(tries) == 6


def test_missing_rights_are_not_tried_again(folder, pauses, monkeypatch):
    def refuse(self, path):
        raise PermissionError("Forbidden")

    monkeypatch.setattr(type(folder._system), "cat_file", refuse)
    with pytest.raises(EnvironmentFailure, match=r"\(Forbidden\); .* your rights there"):
        folder.read("a")
    assert pauses == []


def test_a_bucket_that_is_not_there_is_no_missing_file(folder, tmp_path, monkeypatch):
    def refuse(self, *_, **__):
        raise FileNotFoundError("The specified bucket does not exist")

    for method in ("pipe_file", "put_file"):
        monkeypatch.setattr(type(folder._system), method, refuse)
    (tmp_path / "local").touch()
    with pytest.raises(EnvironmentFailure, match="no such bucket"):
        folder.write("a", b"")
    with pytest.raises(EnvironmentFailure, match="no such bucket"):
        folder.put(tmp_path / "local", "a")
    with pytest.raises(FileNotFoundError):
        folder.put(tmp_path / "gone", "a")


def test_no_password_is_in_a_message(monkeypatch):
    folder = RemoteFolder("Mirror.url", f"memory://me:{PASSWORD}@host/runs")

    def refuse(self, path):
        raise OSError(f"login of me with geheim! or {PASSWORD} failed at memory://me:{PASSWORD}@host")

    monkeypatch.setattr(type(folder._system), "cat_file", refuse)
    with pytest.raises(EnvironmentFailure) as caught:
        folder.read("a")
    assert "memory://me:***@host/runs/a cannot be read" in str(caught.value)
    assert "geheim" not in str(caught.value)


@pytest.mark.parametrize("name", ["a/../../b", "../b", "/b", "a//b", "./b", "x" * 256, "a\0b"])
def test_a_name_that_would_lead_elsewhere_on_a_disk_is_refused(folder, monkeypatch, name):
    folder.write("a", b"")

    def find(self, path, detail):
        return {f"{path}/{name}": {"type": "file", "size": 1}}

    monkeypatch.setattr(type(folder._system), "find", find)
    with pytest.raises(EnvironmentFailure, match="which no file can have here"):
        folder.files()


def test_it_reports_what_it_does_as_bytes_move(tmp_path):
    folder, reported = RemoteFolder("Mirror.url", "memory://reported"), []
    folder.report = reported.append
    (tmp_path / "local").write_bytes(b"x" * 10)
    folder.put(tmp_path / "local", "a")
    assert reported == [
        "memory://reported/a, which is being written",
        "the copy of a, memory://reported",
        "the copy of a, memory://reported",
    ]
    folder.remove("a")
