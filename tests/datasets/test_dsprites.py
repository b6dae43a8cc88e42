"""A small file in the layout of the published one."""

import zipfile

import numpy as np
import pytest

from vaeflow.datasets import DSprites
from vaeflow.datasets import dsprites as module
from vaeflow.errors import ConfigurationError, DataError

NUM = 60


class Bomb:
    """Fails the test that unpickles it."""

    def __reduce__(self):
        return (pytest.fail, ("the metadata was unpickled",))


def write_dsprites(path, **changes):
    rng = np.random.RandomState(0)
    members = {
        "metadata": np.array(Bomb(), dtype=object),
        "imgs": rng.randint(0, 2, (NUM, 8, 8)).astype(np.uint8),
        "latents_classes": np.concatenate(
            [np.zeros((NUM, 1), np.int64), rng.randint(0, 3, (NUM, 3)), np.argwhere(np.ones((3, 20)))], axis=1
        ),
        "latents_values": np.zeros((NUM, 6)),
        **changes,
    }
    np.savez_compressed(path, **{key: value for key, value in members.items() if value is not None})
    return members


def test_reads_images_and_factors(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_CHUNK_EXAMPLES", 7)
    members = write_dsprites(tmp_path / "d.npz")
    dataset = DSprites(tmp_path / "d.npz")
    train, evaluation = dataset.load("train"), dataset.load("evaluation")
    # Asked for 10,000, held out a tenth.
    assert (train.num_examples, evaluation.num_examples) == (54, 6)
    assert train.shape == (8, 8, 1)
    assert train.factor_names[0] == "shape"
    places = np.concatenate([s.factors(np.arange(s.num_examples)) for s in (train, evaluation)])
    records = 20 * places[:, 3] + places[:, 4]
    np.testing.assert_array_equal(np.sort(records), np.arange(NUM))
    np.testing.assert_array_equal(places, members["latents_classes"][records, 1:])
    images = np.concatenate([train.array, evaluation.array])[..., 0]
    np.testing.assert_array_equal(images, members["imgs"][records] * 255)
    # Of the published grid, whatever is in the file.
    assert train.factor_sizes == evaluation.factor_sizes == (3, 6, 40, 32, 32)


def test_the_grid_is_the_whole_file(tmp_path):
    members = write_dsprites(tmp_path / "d.npz")
    grid = DSprites(tmp_path / "d.npz").load_grid()
    np.testing.assert_array_equal(grid.array[..., 0], members["imgs"] * 255)
    np.testing.assert_array_equal(grid.factors(np.arange(NUM)), members["latents_classes"][:, 1:])


def test_a_missing_file_is_refused_when_made(tmp_path):
    with pytest.raises(ConfigurationError, match=r"`DSprites.file`.*RenderedSprites"):
        DSprites(tmp_path / "d.npz")
    write_dsprites(tmp_path / "d.npz")
    with pytest.raises(ValueError, match="num_evaluation"):
        DSprites(tmp_path / "d.npz", num_evaluation=0)


IMAGES = np.zeros((NUM, 8, 8), np.uint8)
BAD = IMAGES.copy()
BAD[41, 3, 3] = 255


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"imgs": BAD}, "record 41: a pixel is 255; expected 0 or 1"),
        ({"imgs": IMAGES[1:]}, r"`imgs` is uint8 \(59, 8, 8\); expected uint8 \[60, H, W\]"),
        ({"imgs": IMAGES.astype(float)}, "`imgs` is float64"),
        ({"imgs": None}, "cannot be read.*imgs"),
        ({"imgs": np.array([Bomb()] * NUM, dtype=object)}, "Python objects, which are never unpickled"),
        ({"latents_classes": np.zeros((NUM, 5), int)}, r"`latents_classes` is int64 \(60, 5\)"),
        ({"latents_classes": None}, "latents_classes"),
        (
            {"latents_classes": np.full((NUM, 6), 7)},
            "record 0: the label 'shape' is 7; expected 0 to 2, one of 3 values",
        ),
    ],
)
def test_wrong_members_are_described(tmp_path, changes, message):
    write_dsprites(tmp_path / "d.npz", **changes)
    with pytest.raises(DataError, match=f"d.npz.*{message}"):
        DSprites(tmp_path / "d.npz").load("train")


def test_damaged_files_are_described(tmp_path):
    path = tmp_path / "d.npz"
    write_dsprites(path)
    content = path.read_bytes()
    for damaged in (content[:-100], b"garbage"):
        path.write_bytes(damaged)
        with pytest.raises(DataError, match=f"{path} cannot be read"):
            DSprites(path).load("train")
    with zipfile.ZipFile(path, "w") as archive:
        for name in ("imgs", "latents_classes"):
            archive.writestr(f"{name}.npy", b"\x93NUMPY\x01\x00" + bytes(4))
    with pytest.raises(DataError, match="cannot be read"):
        DSprites(path).load("train")
