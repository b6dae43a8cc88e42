"""Arrays in .npy, .npz and HDF5 files, intact and damaged."""

import zipfile

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


def test_each_split_has_a_key(tmp_path):
    path = save_array(tmp_path / "a.npz", BYTES, key="x_train", x_test=BYTES[:7])
    for settings in (
        {"train_key": "x_train", "evaluation_key": "x_test"},
        {"key": "x_train", "evaluation_key": "x_test"},
        {"key": "x_test", "train_key": "x_train", "evaluation": path},
    ):
        train, evaluation = load_both_splits(Arrays(path, **settings))
        assert (train.num_examples, evaluation.num_examples) == (20, 7)


@pytest.mark.parametrize("settings", [{}, {"key": "x_train"}, {"evaluation_key": "b", "train_key": "b"}])
def test_one_array_for_both_splits_is_refused(tmp_path, settings):
    path = save_array(tmp_path / "a.npz", BYTES, key="x_train", x_test=BYTES)
    (tmp_path / "link.npz").symlink_to(path)
    for evaluation in (path, tmp_path / "link.npz"):
        with pytest.raises(ConfigurationError, match=r"set `Arrays.train_key` and `Arrays.evaluation_key`"):
            Arrays(path, evaluation, **settings)


def test_without_a_key_the_message_names_the_setting_of_the_split(tmp_path):
    path = save_array(tmp_path / "a.npz", BYTES, key="x_train", x_test=BYTES)
    with pytest.raises(DataError, match=r"holds the arrays x_test, x_train; set `Arrays.train_key` to one"):
        Arrays(path, evaluation_key="x_test").load("train")


def test_a_name_in_hdf5_is_found_through_groups_and_soft_links(tmp_path):
    path = save_array(tmp_path / "a.h5", BYTES, key="group/images")
    with h5py.File(path, "a") as file:
        file["short"] = h5py.SoftLink("/group/images")
        file["group/near"] = h5py.SoftLink("images")
        file["folder"] = h5py.SoftLink("group")
    for key in (
        None,
        "group/images",
        "/group/images",
        "short",
        "/group/near",
        "folder/images",
        "group//images/",
    ):
        np.testing.assert_array_equal(Arrays(path, key=key).load("train").shape, (5, 7, 3))


def test_an_hdf5_file_of_soft_links_to_one_array_needs_no_key(tmp_path):
    path = save_array(tmp_path / "a.h5", BYTES, key="x")
    with h5py.File(path, "a") as file:
        file["y"] = file["x"]
        file["loop"] = h5py.SoftLink("/loop")
        file["nowhere"] = h5py.SoftLink("/missing")
    assert Arrays(path).load("train").shape == (5, 7, 3)
    with pytest.raises(DataError, match="the links of loop go round in a circle"):
        Arrays(path, key="loop").load("train")
    with pytest.raises(DataError, match="got 'nowhere'"):
        Arrays(path, key="nowhere").load("train")


def test_hdf5_does_not_lead_to_another_file(tmp_path):
    other = save_array(tmp_path / "other.h5", BYTES)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["link"] = h5py.ExternalLink("other.h5", "/images")
        file["soft"] = h5py.SoftLink("/link")
    for key in (None, "link", "soft"):
        with pytest.raises(DataError, match=r"link is a link to /images in the file other.h5"):
            Arrays(tmp_path / "a.h5", key=key).load("train")
    layout = h5py.VirtualLayout(BYTES.shape, np.uint8)
    layout[:] = h5py.VirtualSource(other, "images", BYTES.shape)
    with h5py.File(tmp_path / "virtual.h5", "w") as file:
        file.create_virtual_dataset("images", layout)
    (tmp_path / "raw.bin").write_bytes(BYTES.tobytes())
    with h5py.File(tmp_path / "external.h5", "w") as file:
        file.create_dataset("images", BYTES.shape, np.uint8, external=[("raw.bin", 0, BYTES.nbytes)])
    for name in ("virtual.h5", "external.h5"):
        with pytest.raises(DataError, match="the array /images is stored in other files"):
            Arrays(tmp_path / name).load("train")


def npy_bytes(shape, content=b"", descr="|u1"):
    header = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}".encode()
    padded = header + b" " * (-(len(header) + 11) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(padded).to_bytes(2, "little") + padded + content


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (npy_bytes((-5, 5, 7), bytes(100)), r"its header gives the shape \(-5, 5, 7\)"),
        (npy_bytes((10**12, 64, 64)), "4096000000000000 bytes of the shape .* are missing"),
        (npy_bytes((10**30, 10**30, 10**30)), "bytes of the shape .* are missing"),
        (npy_bytes((2, 2, 2), bytes(7)), "1 bytes of the shape"),
        (npy_bytes((), b"1"), r"gives the shape \(\)"),
        (npy_bytes((2, 2, 2), bytes(64), "|O"), "Python objects, which are never unpickled"),
        (b"\x93NUMPY\x09\x00" + bytes(200), "version"),
    ],
    ids=["negative", "huge", "beyond all integers", "one byte short", "no rows", "objects", "a new version"],
)
@pytest.mark.parametrize("suffix", [".npy", ".npz"])
def test_a_header_that_lies_is_found_before_anything_is_allocated(tmp_path, suffix, content, message):
    path = tmp_path / f"a{suffix}"
    if suffix == ".npy":
        path.write_bytes(content)
    else:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("images.npy", content)
    with pytest.raises(DataError, match=f"{path}.* cannot be read: .*{message}"):
        Arrays(path).load("train")


def test_an_array_larger_than_the_memory_is_refused(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        images = file.create_dataset("images", (10**9, 64, 64, 3), np.uint8, chunks=(1, 64, 64, 3))
        images[0] = 1
    with pytest.raises(DataError, match=r"would take [\d,.]+ GiB of memory, of which this machine has"):
        Arrays(tmp_path / "a.h5").load("train")


def test_an_array_that_was_never_written_is_named(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("images", (10**9, 64, 64), np.uint8)
    with pytest.raises(DataError, match=r"/images was declared with shape .* but never written"):
        Arrays(tmp_path / "a.h5").load("train")


def test_column_major_arrays_are_read(tmp_path):
    for suffix in (".npy", ".npz"):
        path = save_array(tmp_path / f"a{suffix}", np.asfortranarray(BYTES))
        np.testing.assert_array_equal(Arrays(path, evaluation_fraction=0.05).load("train").array[0], BYTES[0])


def test_an_encrypted_archive_is_an_error_of_the_data(tmp_path):
    path = save_array(tmp_path / "a.npz", BYTES)
    content = bytearray(path.read_bytes())
    # The flag of encryption, in the member's own header and in the directory.
    content[6] |= 1
    content[content.index(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"cannot be read: .*encrypted"):
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
