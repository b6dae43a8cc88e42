"""Arrays in .npy, .npz and HDF5 files, intact and damaged."""

import h5py
import numpy as np
import pytest
import tensorflow as tf

from vaeflow.datasets import Arrays
from vaeflow.datasets import arrays as module
from vaeflow.errors import ConfigurationError, DataError

BYTES = np.random.RandomState(0).randint(0, 256, (20, 5, 7, 3)).astype(np.uint8)
FLOATS = np.random.RandomState(1).uniform(size=(20, 5, 7))


def save_array(path, array, key="images", **others):
    if path.suffix == ".npy":
        np.save(path, array)
    elif path.suffix == ".npz":
        np.savez_compressed(path, **{key: array}, **others)
    else:
        with h5py.File(path, "w") as file:
            for name, values in {key: array, **others}.items():
                file[name] = values
    return path


def load_both_splits(dataset):
    return dataset.load("train"), dataset.load("evaluation")


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".h5", ".hdf5"])
def test_every_format_gives_the_same_splits(tmp_path, suffix):
    train, evaluation = load_both_splits(
        Arrays(save_array(tmp_path / f"a{suffix}", BYTES), evaluation_fraction=0.2)
    )
    assert (train.num_examples, evaluation.num_examples) == (16, 4)
    assert train.dtype == "uint8"
    assert train.shape == (5, 7, 3)
    joined = np.concatenate([train.array, evaluation.array])
    # Every record is in one split, once.
    assert sorted(map(bytes, joined)) == sorted(map(bytes, BYTES))
    twin, _ = load_both_splits(Arrays(save_array(tmp_path / "twin.npy", BYTES), evaluation_fraction=0.2))
    np.testing.assert_array_equal(train.array, twin.array)


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".h5"])
def test_small_chunks_change_nothing(tmp_path, suffix, monkeypatch):
    path = save_array(tmp_path / f"a{suffix}", FLOATS)
    whole = Arrays(path).load("train").array
    monkeypatch.setattr(module, "_CHUNK_BYTES", 3 * FLOATS[0].nbytes)
    np.testing.assert_array_equal(Arrays(path).load("train").array, whole)


def test_floats_become_float32_with_a_channel(tmp_path):
    evaluation = save_array(tmp_path / "b.npy", FLOATS[:3].astype(np.float64))
    split = Arrays(save_array(tmp_path / "a.npy", FLOATS), evaluation).load("evaluation")
    assert split.dtype == "float32"
    assert split.shape == (5, 7, 1)
    np.testing.assert_array_equal(split.array[..., 0], FLOATS[:3].astype(np.float32))
    images = split.examples(tf.constant([2, 0], tf.int64))
    np.testing.assert_array_equal(images[..., 0], FLOATS[[2, 0]].astype(np.float32))


def test_a_key_chooses_the_array(tmp_path):
    for suffix in (".npz", ".h5"):
        path = save_array(tmp_path / f"a{suffix}", BYTES, labels=np.arange(20))
        assert Arrays(path, key="images").load("train").num_examples == 18
        for key in (None, "pictures"):
            with pytest.raises(DataError, match=r"holds the arrays images, labels; set `Arrays.key`"):
                Arrays(path, key=key).load("train")
    nested = save_array(tmp_path / "nested.h5", BYTES, key="group/images")
    assert Arrays(nested).load("train").num_examples == 18


@pytest.mark.parametrize("bad", [np.nan, np.inf, -0.01, 1.01])
def test_a_bad_pixel_is_named_by_record(tmp_path, bad, monkeypatch):
    monkeypatch.setattr(module, "_CHUNK_BYTES", 4 * FLOATS[0].nbytes)
    array = FLOATS.copy()
    array[13, 2, 3] = array[15, 0, 0] = bad
    path = save_array(tmp_path / "a.npy", array)
    evaluation = save_array(tmp_path / "b.npy", FLOATS)
    with pytest.raises(DataError, match=f"{path}, record 13: a pixel is {bad}"):
        Arrays(path, evaluation).load("train")
    Arrays(evaluation, path).load("train")


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (BYTES.astype(np.int64), "holds int64; expected uint8"),
        (BYTES > 3, "holds bool"),
        (BYTES[0, 0], r"shape \(7, 3\); expected \[N, H, W\]"),
        (BYTES[:0], r"shape \(0, 5, 7, 3\)"),
        (BYTES // 128, "pixels of at most 1"),
        (np.array([{}] * 20).reshape(20, 1, 1), "a plain array of numbers"),
    ],
)
def test_wrong_arrays_are_described(tmp_path, array, message):
    path = tmp_path / "a.npy"
    np.save(path, array, allow_pickle=True)
    with pytest.raises(DataError, match=f"{path} .*{message}"):
        Arrays(path).load("train")


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".h5"])
def test_damaged_files_are_described(tmp_path, suffix):
    path = save_array(tmp_path / f"a{suffix}", BYTES)
    content = path.read_bytes()
    for damaged in (content[:-300], b"garbage" + content, b""):
        path.write_bytes(damaged)
        with pytest.raises(DataError, match=f"{path} cannot be read"):
            Arrays(path).load("train")


def test_evaluation_must_look_like_training(tmp_path):
    train = save_array(tmp_path / "a.npy", BYTES)
    for other in (BYTES[:, :4], FLOATS):
        evaluation = save_array(tmp_path / "b.npy", other)
        with pytest.raises(DataError, match="expected the same in both"):
            Arrays(train, evaluation).load("evaluation")


def test_settings_are_checked_when_made(tmp_path):
    path = save_array(tmp_path / "a.npy", BYTES)
    with pytest.raises(ConfigurationError, match=r"`Arrays.train` must be an existing file"):
        Arrays(tmp_path / "missing.npy")
    with pytest.raises(ConfigurationError, match=r"`Arrays.evaluation` must be a file that ends in"):
        Arrays(path, tmp_path / "a.csv")
    with pytest.raises(ValueError, match="evaluation_fraction"):
        Arrays(path, evaluation_fraction=1)
    with pytest.raises(ConfigurationError, match="none for the evaluation split"):
        Arrays(path, evaluation_fraction=0).load("evaluation")
    with pytest.raises(ValueError, match="`split` must be one of"):
        Arrays(path).load("test")
