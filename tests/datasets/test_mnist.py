"""The four IDX files, intact and with every kind of damage."""

import gzip
import os
import pathlib
import struct

import keras
import numpy as np
import pytest
import tensorflow as tf

from vaeflow.datasets import MNIST, FashionMNIST
from vaeflow.errors import ConfigurationError, DataError

REAL = pathlib.Path(__file__).resolve().parents[3] / "shared" / "data" / "mnist"


def idx_bytes(array, kind=0x08):
    header = bytes([0, 0, kind, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    return header + array.tobytes()


@pytest.fixture
def arrays():
    rng = np.random.RandomState(0)
    return {
        "train-images-idx3-ubyte": rng.randint(0, 256, (5, 28, 28)).astype(np.uint8),
        "train-labels-idx1-ubyte": np.array([3, 1, 4, 1, 5], np.uint8),
        "t10k-images-idx3-ubyte": rng.randint(0, 256, (2, 28, 28)).astype(np.uint8),
        "t10k-labels-idx1-ubyte": np.array([9, 0], np.uint8),
    }


@pytest.fixture
def folder(tmp_path, arrays):
    for name, array in arrays.items():
        (tmp_path / name).write_bytes(idx_bytes(array))
    return tmp_path


def test_reads_both_splits(folder, arrays):
    train = MNIST(folder).load("train")
    evaluation = MNIST(str(folder)).load("evaluation")
    np.testing.assert_array_equal(train.array[..., 0], arrays["train-images-idx3-ubyte"])
    np.testing.assert_array_equal(evaluation.array[..., 0], arrays["t10k-images-idx3-ubyte"])
    assert train.shape == (28, 28, 1)
    assert train.dtype == "uint8"
    assert train.num_examples == 5
    assert train.factors(np.array([4, 0])).tolist() == [[5], [3]]
    assert train.factor_names == ("digit",)
    assert train.factor_sizes == (10,)
    assert train.labels(tf.constant([4, 0])).numpy().tolist() == [[5], [3]]
    assert FashionMNIST(folder).load("train").factor_names == ("article",)


def test_reads_gzipped_files(folder, arrays):
    for name in arrays:
        (folder / f"{name}.gz").write_bytes(gzip.compress((folder / name).read_bytes()))
        (folder / name).unlink()
    np.testing.assert_array_equal(
        MNIST(folder).load("train").array[..., 0], arrays["train-images-idx3-ubyte"]
    )


def test_a_missing_folder_is_refused_when_made():
    with pytest.raises(ConfigurationError, match=r"`FashionMNIST.folder`.*'/no/such'"):
        FashionMNIST("/no/such")


def test_a_missing_file_is_named(folder):
    (folder / "train-labels-idx1-ubyte").unlink()
    MNIST(folder).load("evaluation")
    with pytest.raises(DataError, match="lacks train-labels-idx1-ubyte"):
        MNIST(folder).load("train")


IMAGES = np.zeros((5, 28, 28), np.uint8)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "begins with nothing"),
        (b"\x89PNG" + bytes(100), "not an IDX file: it begins with 89504e47"),
        (idx_bytes(IMAGES, kind=0x0D), "IDX type 0x0d; expected unsigned bytes, 0x08"),
        (idx_bytes(IMAGES)[:9], "cut short inside its header of 16 bytes"),
        (idx_bytes(IMAGES)[:-1], "has 3935 bytes.*expected 3936"),
        (idx_bytes(IMAGES) + b"x", "has at least 3937 bytes, expected 3936"),
        (idx_bytes(IMAGES[:4]), r"labels of shape \(5,\) for the 4 images"),
        (idx_bytes(IMAGES[:, :27]), r"holds \(5, 27, 28\); expected \[N, 28, 28\]"),
        (idx_bytes(IMAGES[:0]), r"holds \(0, 28, 28\)"),
        (b"\0\0\x08\xff" + bytes(2000), "has 255 dimensions in its header; expected 1"),
        (b"\0\0\x08\0", "has 0 dimensions"),
        (b"\0\0\x08\x03" + b"\xff" * 12, "would take .* GiB of memory, of which this machine has"),
        (idx_bytes(IMAGES + 1), "look black; expected 0 … 255; .*`Arrays.pixel_range`"),
    ],
)
def test_damaged_images_are_described(folder, content, message):
    (folder / "train-images-idx3-ubyte").write_bytes(content)
    with pytest.raises(DataError, match=rf"train-.*{message}"):
        MNIST(folder).load("train")


def test_a_label_out_of_range_is_described(folder):
    (folder / "train-labels-idx1-ubyte").write_bytes(idx_bytes(np.array([1, 2, 10, 3, 11], np.uint8)))
    with pytest.raises(DataError, match="train-labels-idx1-ubyte, record 2: the label is 10"):
        MNIST(folder).load("train")


@pytest.mark.parametrize("damage", [lambda whole: whole[:-20], lambda whole: b"not gzip" + whole])
def test_a_damaged_gzip_is_described(folder, damage):
    path = folder / "train-images-idx3-ubyte.gz"
    path.write_bytes(damage(gzip.compress(idx_bytes(IMAGES))))
    (folder / "train-images-idx3-ubyte").unlink()
    with pytest.raises(DataError, match=f"{path} (cannot be read|is not an IDX file)"):
        MNIST(folder).load("train")


def test_the_plain_file_replaces_a_cut_gzip(folder, arrays):
    whole = gzip.compress((folder / "train-images-idx3-ubyte").read_bytes())
    (folder / "train-images-idx3-ubyte.gz").write_bytes(whole[:-20])
    np.testing.assert_array_equal(
        MNIST(folder).load("train").array[..., 0], arrays["train-images-idx3-ubyte"]
    )


def test_a_plain_file_may_be_named_gz(folder, arrays):
    for name in arrays:
        (folder / name).rename(folder / f"{name}.gz")
    np.testing.assert_array_equal(
        MNIST(folder).load("train").array[..., 0], arrays["train-images-idx3-ubyte"]
    )


def test_a_pipe_is_named_and_not_waited_for(folder):
    path = folder / "train-labels-idx1-ubyte"
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(DataError, match=f"{path} is a pipe; expected a regular file"):
        MNIST(folder).load("train")


def test_without_a_folder_keras_own_copy_is_read(monkeypatch, arrays):
    pairs = tuple(
        (arrays[f"{part}-images-idx3-ubyte"], arrays[f"{part}-labels-idx1-ubyte"])
        for part in ("train", "t10k")
    )
    monkeypatch.setattr(keras.datasets.fashion_mnist, "load_data", lambda: pairs)
    split = FashionMNIST().load("evaluation")
    np.testing.assert_array_equal(split.array[..., 0], arrays["t10k-images-idx3-ubyte"])
    assert split.factors(np.arange(2)).tolist() == [[9], [0]]


def test_a_failed_download_names_the_alternatives(monkeypatch):
    def fail():
        raise Exception("URL fetch failure on https://example.org")

    monkeypatch.setattr(keras.datasets.mnist, "load_data", fail)
    with pytest.raises(DataError, match=r"URL fetch failure.*`MNIST.folder`.*RenderedSprites"):
        MNIST().load("train")


@pytest.mark.skipif(not REAL.is_dir(), reason="the real MNIST files are not at ../shared/data/mnist")
def test_the_real_files():
    split = MNIST(os.fspath(REAL)).load("evaluation")
    assert split.array.shape == (10000, 28, 28, 1)
    assert split.factors(np.arange(5))[:, 0].tolist() == [7, 2, 1, 0, 4]
    assert abs(split.array.mean() / 255 - 0.1325) < 1e-3
