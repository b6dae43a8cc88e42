"""Image files in a folder: their splits, their sizes, and the errors of bad ones."""

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from tests.fixtures.image_folders import load_split, read_images, save_image
from vaeflow.datasets import ImageFolder
from vaeflow.errors import ConfigurationError, DataError


@pytest.mark.slow
def test_every_format_is_read(tmp_path):
    names = ("a.png", "b.jpg", "c.JPEG", "d.webp", "deep/er/e.png", "f.gif", "g.bmp", "h.tif", "i.TIFF")
    for name in names:
        save_image(tmp_path / name, **({"lossless": True} if name.endswith("webp") else {}))
    for ignored in (".hidden.png", ".cache/f.png", "notes.txt"):
        (tmp_path / ignored).parent.mkdir(exist_ok=True)
        (tmp_path / ignored).write_bytes(b"nothing to see")
    split = load_split(tmp_path, evaluation_fraction=0.0)
    assert split.num_examples == len(names)
    assert split.shape == (5, 7, 3)
    assert split.dtype == "uint8"
    result = read_images(split)
    assert result.dtype == np.uint8
    assert result.shape == (9, 5, 7, 3)
    assert abs(result.astype(int) - [10, 20, 30]).max() <= 3
    assert split.factors(np.arange(9)) is None
    assert split.factor_names == ()
    assert read_images(load_split(tmp_path, channels=1, evaluation_fraction=0.0)).shape == (9, 5, 7, 1)


USUAL = [
    ("train", "evaluation"),
    ("train", "test"),
    ("train", "val"),
    ("train", "valid"),
    ("train", "validation"),
    ("train", "dev"),
    ("Train", "Test"),
    ("training", "testing"),
    ("TRAIN", "Eval"),
]


@pytest.mark.parametrize(("train", "evaluation"), USUAL)
def test_folders_named_for_the_splits(tmp_path, train, evaluation):
    for part, count in ((train, 3), (evaluation, 2), ("other", 1)):
        for place in range(count):
            save_image(tmp_path / part / f"{place}.png", colour=(count, place, 0))
    assert load_split(tmp_path).num_examples == 3
    assert load_split(tmp_path, "evaluation").num_examples == 2


def test_a_folder_for_validation_is_neither_of_the_others(tmp_path):
    for count, part in enumerate(("train", "val", "test"), 1):
        for place in range(count):
            save_image(tmp_path / part / f"{place}.png", colour=(count, place, 0))
    dataset = ImageFolder(tmp_path, image_size=(5, 7))
    assert [dataset.load(name).num_examples for name in ("train", "validation", "evaluation")] == [1, 2, 3]


def test_a_folder_for_training_alone_is_one_like_any_other(tmp_path):
    for place in range(20):
        save_image(tmp_path / "train" / f"{place}.png", colour=(place,) * 3)
    sizes = [
        load_split(tmp_path, name, evaluation_fraction=0.3).num_examples for name in ("train", "evaluation")
    ]
    assert sum(sizes) == 20
    assert 0 not in sizes


@pytest.mark.parametrize(
    "folders", [("train", "test", "eval"), ("train", "val", "dev"), ("Train", "train", "test")]
)
def test_several_folders_for_one_split_are_refused(tmp_path, folders):
    for place, part in enumerate(folders):
        save_image(tmp_path / part / "1.png", colour=(place,) * 3)
    with pytest.raises(
        ConfigurationError, match=r"several folders that could be .*`ImageFolder.split_folders`"
    ):
        load_split(tmp_path)


def test_the_folders_can_be_chosen(tmp_path):
    for count, part in enumerate(("train", "test", "eval", "photos"), 1):
        for place in range(count):
            save_image(tmp_path / part / f"{place}.png", colour=(count, place, 0))
    assert load_split(tmp_path, "evaluation", split_folders={"evaluation": "eval"}).num_examples == 3
    both = {"evaluation": "test", "train": "photos"}
    assert load_split(tmp_path, split_folders=both).num_examples == 4
    with pytest.raises(ConfigurationError, match=r"split_folders` must name folders in .*'none'"):
        load_split(tmp_path, split_folders={"train": "none"})
    for wrong in ("train", {"train": 3}):
        with pytest.raises(ConfigurationError, match=r"`ImageFolder.split_folders` must be a dict"):
            ImageFolder(tmp_path, split_folders=wrong)
    with pytest.raises(ValueError, match="must be one of 'train'"):
        ImageFolder(tmp_path, split_folders={"test": "test"})


def paths_of(folder, name, **settings):
    return {path.split("/")[-1] for path in ImageFolder(folder, **settings)._files.paths[name]}


def test_adding_files_moves_no_other(tmp_path):
    for place in range(200):
        (tmp_path / f"{place}.png").write_text(str(place))
    before = paths_of(tmp_path, "evaluation", evaluation_fraction=0.25)
    assert 30 <= len(before) <= 70
    for place in range(200, 260):
        (tmp_path / f"{place}.png").write_text(str(place))
    held_out = paths_of(tmp_path, "evaluation", evaluation_fraction=0.25)
    assert before == {name for name in held_out if int(name[:-4]) < 200}
    train = paths_of(tmp_path, "train", evaluation_fraction=0.25)
    assert not train & held_out
    assert len(train | held_out) == 260


def test_copies_are_in_one_split(tmp_path, warnings):
    for place in range(100):
        for copy in "ab":
            (tmp_path / f"{place}{copy}.png").write_text(str(place))
    parts = [paths_of(tmp_path, name, evaluation_fraction=0.3) for name in ("train", "evaluation")]
    numbers = [{name[:-5] for name in part} for part in parts]
    assert not numbers[0] & numbers[1]
    assert sum(map(len, parts)) == 200
    assert f"{tmp_path}: 100 files are copies of others, and in the same split: " in warnings()[0]


def test_each_real_file_counts_once(tmp_path, warnings):
    save_image(tmp_path / "real" / "a.png")
    (tmp_path / "real" / "b.png").symlink_to("a.png")
    (tmp_path / "real" / "c.png").hardlink_to(tmp_path / "real" / "a.png")
    (tmp_path / "again").symlink_to("real")
    (tmp_path / "real" / "circle").symlink_to(tmp_path)
    (tmp_path / "real" / "lost.png").symlink_to("missing.png")
    assert load_split(tmp_path, evaluation_fraction=0.0).num_examples == 1
    assert any("links to a file that is counted already are left out" in text for text in warnings())
    assert any("1 links lead nowhere" in text for text in warnings())


def test_a_file_of_both_splits_is_not_trained_on(tmp_path, warnings):
    save_image(tmp_path / "test" / "a.png")
    save_image(tmp_path / "train" / "b.png", colour=(9, 9, 9))
    (tmp_path / "train" / "a.png").symlink_to("../test/a.png")
    save_image(tmp_path / "train" / "copy.png")
    dataset = ImageFolder(tmp_path)
    assert (dataset.load("train").num_examples, dataset.load("evaluation").num_examples) == (2, 1)
    assert any("1 training files are copies of those for evaluation: " in text for text in warnings())


def test_what_is_left_out_is_counted_and_named(tmp_path, warnings):
    save_image(tmp_path / "a.png")
    for litter in (
        "@eaDir/a.png/SYNOPHOTO_THUMB_M.jpg",
        ".thumbnails/a.png",
        "._a.png",
        "__MACOSX/b.png",
        "Thumbs.db",
    ):
        (tmp_path / litter).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / litter).write_bytes(b"litter")
    (tmp_path / "photo.heic").write_bytes(b"no known format")
    assert load_split(tmp_path, evaluation_fraction=0.0).num_examples == 1
    assert warnings() == [f"{tmp_path}: 1 files are no images and are left out: {tmp_path}/photo.heic"]


def test_images_are_turned_as_their_tag_says(tmp_path):
    top = np.zeros((8, 16, 3), np.uint8)
    top[:4] = 255
    turned = Image.Exif()
    turned[0x0112] = 6  # The camera was turned to the right: the first row is the right side.
    for kind in ("jpg", "png", "tiff", "webp"):
        (tmp_path / kind).mkdir()
        Image.fromarray(top).save(tmp_path / kind / f"a.{kind}", exif=turned)
        image = read_images(load_split(tmp_path / kind, image_size=(16, 8), evaluation_fraction=0.0))[0]
        assert image[:, 5:].min() > 200, kind
        assert image[:, :3].max() < 50, kind


def test_the_first_folder_is_the_label(tmp_path):
    for part in ("train", "test"):
        save_image(tmp_path / part / "dogs" / "small" / "1.png")
        save_image(tmp_path / part / "zebras" / "1.png")
    save_image(tmp_path / "train" / "cats" / "1.png")
    train, evaluation = load_split(tmp_path), load_split(tmp_path, "evaluation")
    assert train.factor_names == ("folder",)
    assert train.factors(np.arange(3)).tolist() == [[0], [1], [2]]
    assert evaluation.factors(np.arange(2)).tolist() == [[1], [2]]
    assert evaluation.labels(tf.constant([1, 0])).numpy().tolist() == [[2], [1]]
    assert train.factor_sizes == evaluation.factor_sizes == (3,)


def test_a_folder_without_training_images_is_no_label(tmp_path):
    for folder in ("train/b", "train/d", "test/a", "test/b", "test/c"):
        save_image(tmp_path / folder / "1.png")
    train, evaluation = load_split(tmp_path), load_split(tmp_path, "evaluation")
    # The training folders keep their numbers, and the others can still be told apart.
    assert train.factors(np.arange(2)).tolist() == [[0], [1]]
    assert train.factor_sizes == (2,)
    assert evaluation.factors(np.arange(3)).tolist() == [[2], [0], [3]]
    message = r"test/a/1.png has a label that training lacks: 2 images .*\(a, c\); expected only b, d; rename"
    for read in (lambda: evaluation.factor_sizes, lambda: evaluation.labels(tf.constant([1]))):
        with pytest.raises(DataError, match=message):
            read()


def test_what_is_held_out_of_a_folder_has_its_labels(tmp_path):
    for place, folder in enumerate("abcdef"):
        save_image(tmp_path / folder / "1.png", colour=(place,) * 3)
    splits = [load_split(tmp_path, name, evaluation_fraction=0.5) for name in ("train", "evaluation")]
    assert [split.factor_sizes for split in splits] == [(6,), (6,)]
    numbers = [split.factors(np.arange(split.num_examples))[:, 0].tolist() for split in splits]
    assert all(numbers)
    assert sorted(numbers[0] + numbers[1]) == list(range(6))
    for split, numbered in zip(splits, numbers):
        folders = [split.describe(index).split("/")[-2] for index in range(split.num_examples)]
        assert folders == ["abcdef"[number] for number in numbered]


def test_own_size_must_be_the_same(tmp_path):
    for name in ("train", "test"):
        save_image(tmp_path / name / "a.png", (6, 9))
    split = load_split(tmp_path, image_size=None)
    assert split.shape == (6, 9, 3)
    np.testing.assert_array_equal(read_images(split)[0, 5, 8], [10, 20, 30])
    save_image(tmp_path / "train" / "b.png", (9, 6))
    with pytest.raises(DataError, match=r"train/b.png is 9x6 pixels, expected 6x9 as in .*/a.png"):
        read_images(load_split(tmp_path, image_size=None))


@pytest.mark.slow
@pytest.mark.parametrize("content", [b"", b"these are words", b"\x89PNG\r\n\x1a\n" + bytes(50)])
def test_what_was_damaged_later_is_named_inside_tf_data(tmp_path, content):
    for part in ("train", "test"):
        save_image(tmp_path / part / "good.png")
    save_image(tmp_path / "train" / "bad.png")
    stream = tf.data.Dataset.range(2).batch(2).map(load_split(tmp_path).examples, tf.data.AUTOTUNE)
    assert len(list(stream)) == 1
    stream = tf.data.Dataset.range(2).batch(2).map(load_split(tmp_path).examples, tf.data.AUTOTUNE)
    (tmp_path / "train" / "bad.png").write_bytes(content)
    with pytest.raises(tf.errors.UnknownError, match=r"DataError: .*train/bad.png cannot be decoded"):
        list(stream)


def test_a_vanished_file_is_named(tmp_path):
    save_image(tmp_path / "a.png")
    split = load_split(tmp_path, evaluation_fraction=0.0)
    (tmp_path / "a.png").unlink()
    with pytest.raises(DataError, match=r"a.png cannot be read"):
        read_images(split)


@pytest.mark.slow
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
