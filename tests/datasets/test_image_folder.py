"""Image files in a folder: their splits, their sizes, and the errors of bad ones."""

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from vaeflow.datasets import ImageFolder
from vaeflow.errors import ConfigurationError, DataError


def save_image(path, size=(6, 9), colour=(10, 20, 30), **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((*size, 3), colour, np.uint8)).save(path, **options)


def read_images(split):
    return split.examples(tf.range(split.num_examples, dtype=tf.int64)).numpy()


def load_split(folder, name="train", **settings):
    return ImageFolder(folder, **{"image_size": (5, 7), **settings}).load(name)


def test_every_format_is_read(tmp_path):
    for name in ("a.png", "b.jpg", "c.JPEG", "d.webp", "deep/er/e.png"):
        save_image(tmp_path / name, **({"lossless": True} if name.endswith("webp") else {}))
    for ignored in (".hidden.png", ".cache/f.png", "notes.txt"):
        (tmp_path / ignored).parent.mkdir(exist_ok=True)
        (tmp_path / ignored).write_bytes(b"nothing to see")
    split = load_split(tmp_path, evaluation_fraction=0.0)
    assert split.num_examples == 5
    assert split.shape == (5, 7, 3)
    assert split.dtype == "uint8"
    result = read_images(split)
    assert result.dtype == np.uint8
    assert result.shape == (5, 5, 7, 3)
    assert abs(result.astype(int) - [10, 20, 30]).max() <= 3
    assert split.factors(np.arange(5)) is None
    assert split.factor_names == ()
    assert read_images(load_split(tmp_path, channels=1, evaluation_fraction=0.0)).shape == (5, 5, 7, 1)


def test_folders_named_for_the_splits(tmp_path):
    for count, part in enumerate(("train", "evaluation", "test", "val", "train/cats", "other")):
        for place in range(count + 1):
            save_image(tmp_path / part / f"{place}.png")
    assert load_split(tmp_path).num_examples == 1 + 5
    for count, part in enumerate(("evaluation", "test", "val"), 2):
        assert load_split(tmp_path, "evaluation").num_examples == count
        (tmp_path / part).rename(tmp_path / f"old_{part}")
    # With only `train` left it is a folder like any other.
    joined = [
        load_split(tmp_path, name, evaluation_fraction=0.3).num_examples for name in ("train", "evaluation")
    ]
    assert sum(joined) == 1 + 2 + 3 + 4 + 5 + 6


def test_adding_files_moves_no_other(tmp_path):
    def paths(name):
        return set(load_split(tmp_path, name, evaluation_fraction=0.25, cache=False)._paths)

    for place in range(200):
        (tmp_path / f"{place}.png").touch()
    before = paths("evaluation")
    assert 30 <= len(before) <= 70
    for place in range(200, 260):
        (tmp_path / f"{place}.png").touch()
    assert before == {path for path in paths("evaluation") if int(path.split("/")[-1][:-4]) < 200}
    train, held_out = paths("train"), paths("evaluation")
    assert not train & held_out
    assert len(train | held_out) == 260


def test_the_first_folder_is_the_label(tmp_path):
    for part in ("train", "test"):
        save_image(tmp_path / part / "dogs" / "small" / "1.png")
        save_image(tmp_path / part / "zebras" / "1.png")
    save_image(tmp_path / "train" / "cats" / "1.png")
    train, evaluation = load_split(tmp_path), load_split(tmp_path, "evaluation")
    assert train.factor_names == ("folder",)
    assert train.factors(np.arange(3)).tolist() == [[0], [1], [2]]
    assert evaluation.factors(np.arange(2)).tolist() == [[1], [2]]


def test_own_size_must_be_the_same(tmp_path):
    for name in ("train", "test"):
        save_image(tmp_path / name / "a.png", (6, 9))
    split = load_split(tmp_path, image_size=None)
    assert split.shape == (6, 9, 3)
    np.testing.assert_array_equal(read_images(split)[0, 5, 8], [10, 20, 30])
    save_image(tmp_path / "train" / "b.png", (9, 6))
    with pytest.raises(DataError, match=r"train/b.png is 9x6 pixels, expected 6x9 as in .*/a.png"):
        read_images(load_split(tmp_path, image_size=None))


@pytest.mark.parametrize("content", [b"", b"these are words", b"\x89PNG\r\n\x1a\n" + bytes(50)])
def test_what_is_no_image_is_named_inside_tf_data(tmp_path, content):
    for part in ("train", "test"):
        save_image(tmp_path / part / "good.png")
    (tmp_path / "train" / "bad.png").write_bytes(content)
    stream = tf.data.Dataset.range(2).batch(2).map(load_split(tmp_path).examples, tf.data.AUTOTUNE)
    with pytest.raises(tf.errors.UnknownError, match=r"DataError: .*train/bad.png cannot be decoded"):
        list(stream)
    (tmp_path / "train" / "bad.png").unlink()
    save_image(tmp_path / "train" / "bad.png")
    assert len(list(stream)) == 1


def test_a_vanished_file_is_named(tmp_path):
    save_image(tmp_path / "a.png")
    split = load_split(tmp_path, evaluation_fraction=0.0)
    (tmp_path / "a.png").unlink()
    with pytest.raises(DataError, match=r"a.png cannot be read"):
        read_images(split)


def test_the_order_of_a_batch_is_that_of_the_indices(tmp_path):
    for place in range(30):
        save_image(tmp_path / f"{place:02}.png", colour=(place,) * 3)
    split = load_split(tmp_path, evaluation_fraction=0.0)
    chosen = np.random.RandomState(0).permutation(30)
    batches = tf.data.Dataset.from_tensor_slices(chosen).batch(4).map(split.examples, tf.data.AUTOTUNE)
    result = np.concatenate(list(batches.as_numpy_iterator()))
    np.testing.assert_array_equal(result[:, 0, 0, 0], chosen)
    assert split.examples(tf.zeros([0], tf.int64)).shape == (0, 5, 7, 3)


def test_settings_and_empty_splits(tmp_path):
    with pytest.raises(ConfigurationError, match=r"`ImageFolder.folder` must be an existing folder"):
        ImageFolder(tmp_path / "none")
    for size in ((64,), (64, 64, 3), (0, 4), 64, "64"):
        with pytest.raises(ValueError, match=r"`ImageFolder.image_size`"):
            ImageFolder(tmp_path, image_size=size)
    with pytest.raises(ValueError, match=r"`ImageFolder.channels` must be one of 1, 3, 4"):
        ImageFolder(tmp_path, channels=2)
    with pytest.raises(DataError, match=r"holds no file for the train split that ends in .png"):
        ImageFolder(tmp_path).load("train")
    save_image(tmp_path / "a.png")
    with pytest.raises(DataError, match=r"evaluation split.*`ImageFolder.evaluation_fraction`, which is 0.0"):
        load_split(tmp_path, "evaluation", evaluation_fraction=0.0)


def test_whether_to_cache_is_a_boolean(tmp_path):
    with pytest.raises(ValueError, match=r"`ImageFolder.cache` must be True or False, got 1"):
        ImageFolder(tmp_path, cache=1)
