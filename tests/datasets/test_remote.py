"""Data behind URLs: copied once into the cache, noticed when it changes, and never half there."""

import base64
import fcntl
import hashlib
import json
import pathlib
import threading
import time

import fsspec
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from vaeflow import datasets
from vaeflow.datasets import pipeline, remote, remote_cache
from vaeflow.datasets.remote import Source
from vaeflow.errors import ConfigurationError, DataError, EnvironmentFailure
from vaeflow.runs import remote_folder
from vaeflow.runs.remote_folder import RemoteFolder


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """The folder of the cache, which is empty."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(remote_folder, "_PAUSES", (0.0, 0.0))
    return tmp_path / "cache" / "vaeflow" / "data"


@pytest.fixture
def bucket(tmp_path):
    """A remote folder in memory: its URL."""
    yield f"memory://{tmp_path.name}"
    if fsspec.filesystem("memory").exists(tmp_path.name):
        fsspec.filesystem("memory").rm(f"/{tmp_path.name}", recursive=True)


@pytest.fixture
def fetched(monkeypatch):
    """The names of the files that are copied."""
    names, get = [], RemoteFolder.get
    monkeypatch.setattr(
        RemoteFolder, "get", lambda self, name, path: (names.append(name), get(self, name, path))
    )
    return names


def put(url, **files):
    remote = RemoteFolder("test", url)
    for name, content in files.items():
        remote.write(name.replace("__", "/"), content)


def upload(folder, url):
    for path in folder.rglob("*"):
        if path.is_file():
            RemoteFolder("test", url).put(path, path.relative_to(folder).as_posix())


def contents(path):
    return {
        file.relative_to(path).as_posix(): file.read_bytes() for file in path.rglob("*") if file.is_file()
    }


def write_images(folder):
    for number in range(6):
        path = folder / f"class {number % 2}" / f"[{number}]*.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((4, 4, 3), 40 * number, np.uint8)).save(path)
    return "", {"image_size": (4, 4), "evaluation_fraction": 0.4}, "folder"


def write_records(folder):
    for name in ("a", "b"):
        with tf.io.TFRecordWriter(str(folder / f"train-{name}.tfrecord")) as writer:
            for number in range(4):
                image = tf.train.BytesList(value=[bytes([80 * number]) * 16])
                features = tf.train.Features(feature={"image": tf.train.Feature(bytes_list=image)})
                writer.write(tf.train.Example(features=features).SerializeToString())
    return "/train-*.tfrecord", {"image_format": "raw", "shape": (4, 4, 1)}, "train"


def write_arrays(folder):
    np.savez(
        folder / "all.npz", images=np.arange(10 * 16).astype(np.uint8).reshape(10, 4, 4), labels=range(10)
    )
    return "/all.npz", {"key": "images", "labels_key": "labels"}, "train"


@pytest.mark.parametrize(
    ("dataset", "write"),
    [
        (datasets.ImageFolder, write_images),
        (datasets.TFRecords, write_records),
        (datasets.Arrays, write_arrays),
    ],
)
def test_a_dataset_behind_a_url_is_that_of_the_same_files_here(tmp_path, bucket, fetched, dataset, write):
    folder = tmp_path / "local"
    folder.mkdir()
    ending, settings, parameter = write(folder)
    upload(folder, bucket)
    here = dataset(**settings | {parameter: f"{folder}{ending}"})
    there = dataset(**settings | {parameter: f"{bucket}{ending}"})
    assert fetched == []  # Nothing is read before the data is.
    for name in ("train", "evaluation"):
        one, other = pipeline.read_split(here, name), pipeline.read_split(there, name)
        assert one.fingerprint() == other.fingerprint()
        if (
            dataset is datasets.ImageFolder
        ):  # To decode them takes a second, and the digest is of their bytes.
            continue
        indices = tf.range(one.num_examples, dtype=tf.int64)
        assert (one.examples(indices).numpy() == other.examples(indices).numpy()).all()
    assert len(fetched) == len(set(fetched)) > 0


@pytest.mark.parametrize(
    ("dataset", "parameter"),
    [
        (datasets.MNIST, "folder"),
        (datasets.FashionMNIST, "folder"),
        (datasets.Codes, "folder"),
        (datasets.Latents, "folder"),
        (datasets.DSprites, "file"),
    ],
)
def test_other_datasets_read_the_copy_too(bucket, fetched, dataset, parameter):
    put(f"{bucket}/data.npz", **({"a": b"one"} if parameter == "folder" else {}))
    put(bucket, **({"data.npz": b"one"} if parameter == "file" else {}))
    made = dataset(**{parameter: f"{bucket}/data.npz"})
    assert fetched == []
    path = getattr(made, parameter)
    assert (path / "a" if parameter == "folder" else path).read_bytes() == b"one"


def test_a_folder_is_copied_once_and_used_again(bucket, cache, fetched, capsys):
    put(f"{bucket}/data", a=b"one", sub__b=b"two", sub__c=b"three")
    first = Source("X.folder", f"{bucket}/data/").path
    assert first.name == "data"
    assert contents(first) == {"a": b"one", "sub/b": b"two", "sub/c": b"three"}
    assert capsys.readouterr().err == f"copying 3 files (0.0 MB) of {bucket}/data\n"
    assert Source("X.folder", f"{bucket}/data").path == first
    assert sorted(fetched) == ["a", "sub/b", "sub/c"]
    assert capsys.readouterr().err == ""
    (record,) = cache.glob("*/*.json")
    assert json.loads(record.read_text())["url"] == f"{bucket}/data"


def test_a_changed_file_is_noticed_and_only_it_is_copied(bucket, fetched):
    put(f"{bucket}/data", a=b"one", b=b"two", c=b"three")
    old = Source("X.folder", f"{bucket}/data").path
    put(f"{bucket}/data", b=b"TWO")  # Of the same size.
    RemoteFolder("test", f"{bucket}/data").remove("c")
    fetched.clear()
    new = Source("X.folder", f"{bucket}/data").path
    assert fetched == ["b"]
    assert contents(new) == {"a": b"one", "b": b"TWO"}
    assert contents(old) == {"a": b"one", "b": b"two", "c": b"three"}  # A run may be reading it.
    assert (old / "a").stat().st_ino == (new / "a").stat().st_ino


def test_a_file_that_the_cache_has_lost_is_copied_again(bucket, fetched):
    put(f"{bucket}/data", a=b"one", b=b"two")
    path = Source("X.folder", f"{bucket}/data").path
    (path / "a").unlink()
    (path / "b").write_bytes(b"tw")
    fetched.clear()
    assert contents(Source("X.folder", f"{bucket}/data").path) == {"a": b"one", "b": b"two"}
    assert sorted(fetched) == ["a", "b"]


def test_a_copy_that_was_stopped_goes_on(bucket, cache, fetched, monkeypatch):
    put(f"{bucket}/data", a=b"one", b=b"two", c=b"three")
    get = RemoteFolder.get

    def fail_at_b(self, name, path):
        get(self, name, path)
        if name == "b":
            path.write_bytes(b"t")
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(RemoteFolder, "get", fail_at_b)
        with pytest.raises(KeyboardInterrupt):
            _ = Source("X.folder", f"{bucket}/data").path
    whole = {path.name: path.read_bytes() for path in cache.rglob("*/data/*")}
    assert "b" not in whole
    assert whole["a"] == b"one"
    assert not list(cache.glob(".unfinished*"))
    fetched.clear()
    assert len(contents(Source("X.folder", f"{bucket}/data").path)) == 3
    assert sorted(fetched) == sorted({"a", "b", "c"} - whole.keys())


def test_what_arrives_otherwise_than_it_is_there_is_refused(bucket, monkeypatch):
    put(f"{bucket}/data", a=b"one")
    get, find = RemoteFolder.get, RemoteFolder.files

    def cut(self, name, path):
        get(self, name, path)
        path.write_bytes(path.read_bytes()[:2])

    def with_md5(content):
        md5 = base64.b64encode(hashlib.md5(content).digest()).decode()
        return lambda self: {name: {**info, "md5Hash": md5} for name, info in find(self).items()}

    with monkeypatch.context() as patch:
        patch.setattr(RemoteFolder, "get", cut)
        with pytest.raises(DataError, match=r"data/a has 3 bytes, of which 2 arrived; run the same command"):
            _ = Source("X.folder", f"{bucket}/data").path
    monkeypatch.setattr(RemoteFolder, "files", with_md5(b"two"))
    with pytest.raises(DataError, match="has arrived with another MD5"):
        _ = Source("X.folder", f"{bucket}/data").path
    monkeypatch.setattr(RemoteFolder, "files", with_md5(b"one"))
    assert contents(Source("X.folder", f"{bucket}/data").path) == {"a": b"one"}


@pytest.mark.parametrize(
    ("change", "message"), [("put", "has changed while it was"), ("remove", "a has gone while")]
)
def test_what_changes_while_it_is_copied_is_refused(bucket, cache, monkeypatch, change, message):
    put(f"{bucket}/data", a=b"one")
    get = RemoteFolder.get

    def act(self, name, path):
        if change == "put":
            get(self, name, path)
            put(f"{bucket}/data", a=b"two")
        else:
            self.remove("a")
            get(self, name, path)

    monkeypatch.setattr(RemoteFolder, "get", act)
    with pytest.raises(DataError, match=message):
        _ = Source("X.folder", f"{bucket}/data").path
    assert not [path for path in cache.rglob("a") if path.is_file()]  # It may be of either version.


@pytest.mark.parametrize("is_file", [True, False])
def test_an_address_where_nothing_is_ends_with_one_message(bucket, is_file):
    source = Source("X.folder", f"{bucket}/none.npz", is_file)
    assert not source.is_missing()
    with pytest.raises(DataError, match=r"none.npz holds no file, or does not exist; check the address"):
        _ = source.path
    with pytest.raises(DataError, match="holds no file"):
        remote.matching("TFRecords", f"{bucket}/*.tfrecord")


def test_a_cache_without_room_is_refused_before_anything_is_copied(bucket, fetched, monkeypatch):
    put(f"{bucket}/data", a=b"one")
    monkeypatch.setattr(remote_cache.shutil, "disk_usage", lambda path: type("Usage", (), {"free": 2}))
    with pytest.raises(DataError, match=r"0.0 GB are to be copied to .*; free some, or set XDG_CACHE_HOME"):
        _ = Source("X.folder", f"{bucket}/data").path
    assert fetched == []


def test_a_full_disk_is_no_fault_of_the_network(bucket, monkeypatch):
    put(f"{bucket}/data", a=b"one")

    def full(self, *_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(fsspec.get_filesystem_class("memory"), "get_file", full)
    with pytest.raises(
        EnvironmentFailure, match=r"cannot be written \(No space left on device\); free some space"
    ):
        _ = Source("X.folder", f"{bucket}/data").path


def test_two_processes_do_not_copy_the_same_at_once(bucket, cache, fetched, monkeypatch):
    put(f"{bucket}/data", a=b"one")
    first = Source("X.folder", f"{bucket}/data").path
    waited = threading.Event()
    monkeypatch.setattr(remote_cache.time, "sleep", lambda seconds: (waited.set(), time.monotonic()))
    with (first.parents[1] / ".lock").open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        found = []
        other = threading.Thread(target=lambda: found.append(Source("X.folder", f"{bucket}/data").path))
        other.start()
        assert waited.wait(20)
        assert found == []
    other.join()
    assert found == [first]
    assert fetched == ["a"]


def test_a_pattern_in_a_url_takes_the_files_that_match_unless_one_has_this_name(bucket, fetched):
    put(f"{bucket}/data", **{"a-1.x": b"1", "a-2.x": b"2", "b.x": b"3", "sub__a-3.x": b"4", "[ab].x": b"5"})

    def names(pattern):
        return sorted(
            path.rpartition("/")[2] for path in remote.matching("TFRecords", f"{bucket}/data/{pattern}")
        )

    assert names("a-*.x") == ["a-1.x", "a-2.x"]
    assert names("b.x") == ["b.x"]
    assert names("[ab].x") == ["[ab].x"]
    assert names("**/a-?.x") == ["a-1.x", "a-2.x", "a-3.x"]
    assert sorted(set(fetched)) == ["[ab].x", "a-1.x", "a-2.x", "b.x", "sub/a-3.x"]
    assert len(fetched) == 5  # What one pattern has brought, another need not copy.


def test_records_of_two_urls_are_not_both_trained_on_and_evaluated(tmp_path, bucket):
    _, settings, _ = write_records(tmp_path)
    upload(tmp_path, bucket)
    both = datasets.TFRecords(f"{bucket}/train-*.tfrecord", f"{bucket}/train-b.tfrecord", **settings)
    with pytest.raises(
        ConfigurationError, match=r"belongs to `TFRecords.train` and to `TFRecords.evaluation`"
    ):
        both.load("evaluation")


def test_one_array_behind_a_url_is_not_both_trained_on_and_evaluated(bucket):
    with pytest.raises(ConfigurationError, match="are the same array of memory://"):
        datasets.Arrays(f"{bucket}/a.npz", f"{bucket}/a.npz", key="images")
    with pytest.raises(ConfigurationError, match=r"must be a file that ends in .npy"):
        datasets.Arrays(f"{bucket}/a.txt")
    with pytest.raises(ConfigurationError, match="must be the URL of a file"):
        datasets.Arrays("memory://a.npz")


def test_of_prepared_datasets_only_the_one_that_is_named_is_copied(bucket, fetched):
    pytest.importorskip("tensorflow_datasets")
    put(f"{bucket}/tfds", mnist__3__info=b"1", cifar10__3__info=b"2")
    source = datasets.TFDS("mnist:3.0.1", data_dir=f"{bucket}/tfds")
    assert fetched == []
    assert list(contents(pathlib.Path(source.data_dir))) == ["mnist/3/info"]


def test_the_cache_is_where_the_system_has_caches(monkeypatch, tmp_path):
    assert remote_cache.folder() == tmp_path / "cache" / "vaeflow" / "data"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert remote_cache.folder() == tmp_path / ".cache" / "vaeflow" / "data"


def test_no_password_is_kept_or_shown(cache, capsys):
    put("memory://me:secret@host/data", a=b"one")
    _ = Source("X.folder", "memory://me:secret@host/data").path
    assert "memory://me:***@host/data" in capsys.readouterr().err
    assert not [path for path in cache.rglob("*.json") if "secret" in path.read_text()]
    fsspec.filesystem("memory").rm("/me:secret@host", recursive=True)
