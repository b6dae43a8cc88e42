"""Arrays that stay on the disk give the images, labels and fingerprints of those held in memory."""

import numpy as np
import pytest
import tensorflow as tf

from tests.fixtures.image_folders import read_images
from vaeflow.datasets import Arrays, InMemorySplit, array_files
from vaeflow.datasets import arrays as module
from vaeflow.datasets.mapped import MappedSplit
from vaeflow.datasets.pipeline import read_split
from vaeflow.errors import ConfigurationError, DataError

BYTES = np.random.RandomState(0).randint(0, 256, (20, 5, 7, 3)).astype(np.uint8)
ARRAYS = {
    "bytes": (BYTES, {}),
    "floats": (BYTES[..., 0] / 255, {}),
    "counts": (BYTES.astype(np.int16), {"pixel_range": (0, 255)}),
    "channels first": (np.moveaxis(BYTES, 3, 1), {"layout": "NCHW"}),
    "column-major": (np.asfortranarray(BYTES), {}),
}


@pytest.mark.parametrize("kind", ARRAYS)
@pytest.mark.parametrize("name", ["train", "evaluation"])
def test_they_are_those_in_memory(tmp_path, monkeypatch, kind, name):
    array, settings = ARRAYS[kind]
    np.save(tmp_path / "[a]*.npy", array)
    np.save(tmp_path / "labels.npy", np.arange(20) % 3)
    settings = {"train_labels": tmp_path / "labels.npy", "evaluation_fraction": 0.3, **settings}
    monkeypatch.setattr(module, "_CHUNK_BYTES", 3 * array[0].nbytes)
    mapped, held = (
        read_split(Arrays(tmp_path / "[a]*.npy", in_memory=in_memory, **settings), name)
        for in_memory in (False, True)
    )
    assert isinstance(mapped, MappedSplit)
    assert isinstance(held, InMemorySplit)
    assert mapped.array is None
    np.testing.assert_array_equal(read_images(mapped), held.array)
    assert (mapped.dtype, mapped.shape) == (held.dtype, held.shape)
    indices = tf.range(held.num_examples, dtype=tf.int64)
    np.testing.assert_array_equal(mapped.labels(indices), held.labels(indices))
    assert mapped.fingerprint() == held.fingerprint()


def test_binarized_for_good_they_are_those_in_memory(tmp_path):
    np.save(tmp_path / "a.npy", BYTES)
    settings = {"binarization": "static", "validation_fraction": 0.25}
    mapped, held = (
        read_split(Arrays(tmp_path / "a.npy", in_memory=in_memory, **settings), "validation")
        for in_memory in (False, "auto")
    )
    np.testing.assert_array_equal(read_images(mapped), held.array)


def test_only_a_large_array_is_left_on_the_disk(tmp_path, monkeypatch):
    np.save(tmp_path / "a.npy", BYTES)
    for memory, kind in ((2 * BYTES.nbytes, InMemorySplit), (2 * BYTES.nbytes - 1, MappedSplit)):
        monkeypatch.setattr(array_files, "memory_bytes", lambda memory=memory: memory)
        assert isinstance(Arrays(tmp_path / "a.npy").load("train"), kind)
    monkeypatch.setattr(array_files, "memory_bytes", lambda: BYTES.nbytes - 1)
    with pytest.raises(DataError, match=r"set `Arrays.in_memory` to 'auto' or False"):
        Arrays(tmp_path / "a.npy", in_memory=True).load("train")


def test_other_files_are_held(tmp_path):
    np.savez(tmp_path / "a.npz", BYTES)
    with pytest.raises(
        ConfigurationError, match=r"a\.npz: arrays in \.npz and HDF5 files are held in memory"
    ):
        Arrays(tmp_path / "a.npz", in_memory=False)


def test_pixels_out_of_range_are_found_before_training(tmp_path):
    np.save(tmp_path / "a.npy", np.where(np.arange(20)[:, None, None] == 17, 1.5, BYTES[..., 0] / 255))
    with pytest.raises(DataError, match=r"record 17: a pixel is 1\.5"):
        Arrays(tmp_path / "a.npy", in_memory=False).load("train")
