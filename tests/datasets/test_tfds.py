"""TensorFlow Datasets with a tiny builder, prepared offline in each of the file formats."""

import importlib.util
import json
import os

import numpy as np
import pytest
import tensorflow as tf

from vaeflow import registry
from vaeflow.datasets import TFDS, InMemorySplit
from vaeflow.datasets.augmentations import RandomCrop
from vaeflow.datasets.pipeline import read_split
from vaeflow.errors import ConfigurationError, DataError

tfds = pytest.importorskip("tensorflow_datasets", reason="tensorflow-datasets is not installed")


def pixels(place):
    return np.random.RandomState(place).randint(0, 256, (6, 9, 3)).astype(np.uint8)


class TinyImages(tfds.core.GeneratorBasedBuilder):
    """Ten images to train, four to test."""

    VERSION = tfds.core.Version("1.0.0")

    def _info(self):
        features = {
            "image": tfds.features.Image(shape=(None, None, 3)),
            "fixed": tfds.features.Image(shape=(6, 9, 3)),
            "number": tfds.features.Scalar(np.int64),
            "parity": tfds.features.ClassLabel(num_classes=3),
        }
        return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features))

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples(0, 10), "test": self._generate_examples(10, 14)}

    def _generate_examples(self, first, last):
        for place in range(first, last):
            images = {"image": pixels(place), "fixed": pixels(place)}
            yield place, {**images, "number": place, "parity": place % 2}


class OutOfReach(TinyImages):
    """A dataset whose server does not answer."""

    def _split_generators(self, dl_manager):
        raise ConnectionError("no route to example.org")


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Data folders by file format."""
    made = {}
    for kind in ("tfrecord", "array_record"):
        made[kind] = tmp_path_factory.mktemp(kind)
        tfds.builder("tiny_images", data_dir=made[kind]).download_and_prepare(file_format=kind)
    return made


def read_images(split, indices):
    return split.examples(tf.constant(indices, tf.int64)).numpy()


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["tfrecord", "array_record"])
def test_both_splits_are_read(folders, kind):
    dataset = TFDS("tiny_images", folders[kind], image_key="fixed", label_key="number")
    for name, places in (("train", range(10)), ("evaluation", range(10, 14))):
        split = dataset.load(name)
        assert isinstance(split, InMemorySplit) == (kind == "tfrecord")
        assert split.shape == (6, 9, 3)
        assert split.dtype == "uint8"
        assert split.factor_names == ("number",)
        order = np.random.RandomState(0).permutation(split.num_examples)
        numbers = split.factors(order)[:, 0]
        assert sorted(numbers) == list(places)
        np.testing.assert_array_equal(read_images(split, order), [pixels(number) for number in numbers])
        stream = tf.data.Dataset.from_tensor_slices(order).batch(3).map(split.examples, tf.data.AUTOTUNE)
        np.testing.assert_array_equal(np.concatenate(list(stream)), read_images(split, order))
        assert read_images(split, []).shape == (0, 6, 9, 3)


@pytest.mark.parametrize("kind", ["tfrecord", "array_record"])
def test_classes_have_the_size_of_their_feature(folders, kind):
    dataset = TFDS("tiny_images", folders[kind], image_key="fixed", label_key="parity")
    for name in ("train", "evaluation"):
        split = dataset.load(name)
        assert split.factor_sizes == (3,)
        stream = tf.data.Dataset.range(4).batch(3).map(split.labels)
        np.testing.assert_array_equal(np.concatenate(list(stream)), split.factors(np.arange(4)))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["tfrecord", "array_record"])
def test_integers_without_classes_have_the_size_of_the_training_split(folders, kind):
    settings = {"image_key": "fixed", "label_key": "number"}
    train = TFDS("tiny_images", folders[kind], **settings).load("train")
    assert train.factor_sizes == (10,)
    assert sorted(train.labels(tf.range(10, dtype=tf.int64)).numpy()[:, 0]) == list(range(10))
    with pytest.raises((DataError, tf.errors.UnknownError), match=r"'number' is 1\d; expected 0 to 9"):
        TFDS("tiny_images", folders[kind], **settings).load("evaluation").labels(tf.constant([0]))


@pytest.mark.parametrize("kind", ["tfrecord", "array_record"])
def test_sizes_and_parts_of_splits(folders, kind):
    settings = {"train_split": "train[:70%]", "evaluation_split": "train[70%:]", "image_size": (3, 5)}
    dataset = TFDS("tiny_images", folders[kind], **settings)
    train, evaluation = dataset.load("train"), dataset.load("evaluation")
    assert (train.num_examples, evaluation.num_examples) == (7, 3)
    assert train.shape == (3, 5, 3)
    assert read_images(train, [6, 0]).shape == (2, 3, 5, 3)
    assert train.factors(np.array([0])) is None
    assert train.factor_names == ()


@pytest.mark.slow
@pytest.mark.parametrize(
    "settings",
    [{"image_key": "image"}, pytest.param({"image_key": "fixed", "image_size": 8}, marks=pytest.mark.long)],
)
def test_random_crops_of_mixed_sizes_are_cut_where_they_are_decoded(folders, settings):
    """In their own sizes, whose feature says none, they are parts of the images."""
    settings = {"augmentations": [RandomCrop((4, 5))], **settings}
    split = read_split(TFDS("tiny_images", folders["array_record"], **settings), "train", augmented=True)
    assert split.stored_shape == split.shape == (4, 5, 3)
    indices = tf.range(10, dtype=tf.int64)
    crops = split.training_examples(indices, 3, tf.constant(20, tf.int64)).numpy()
    assert crops.shape == (10, 4, 5, 3)
    if "image_size" not in settings:
        parts = [
            {pixels(n)[r : r + 4, c : c + 5].tobytes() for r in range(3) for c in range(5)} for n in range(10)
        ]
        assert all(any(crop.tobytes() in part for part in parts) for crop in crops)
        middles = {pixels(n)[1:5, 2:7].tobytes() for n in range(10)}
        assert {image.tobytes() for image in split.examples(indices).numpy()} == middles
    with pytest.raises(ConfigurationError, match="was not prepared for random access"):
        TFDS("tiny_images", folders["tfrecord"], **settings).load("train")


def test_what_is_not_prepared_is_prepared_for_random_access(tmp_path):
    split = TFDS("tiny_images", str(tmp_path), image_key="fixed").load("train")
    assert split.num_examples == 10
    assert split.array is None


def test_a_failed_download_says_what_was_tried(tmp_path):
    with pytest.raises(DataError, match=r"tfds out_of_reach .*no route to example.org.*`TFDS.data_dir`"):
        TFDS("out_of_reach", str(tmp_path)).load("train")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"name": "mnits"}, "`TFDS.name` 'mnits' is not a dataset of tfds.*'mnist'"),
        ({"train_split": "validation"}, "`TFDS.train_split` .* has .*train.*got 'validation'"),
        ({"image_key": "picture"}, "features fixed, image, number, parity; got 'picture'"),
        ({"label_key": "label"}, "got 'label'"),
        ({"label_key": "image"}, "`TFDS.label_key` must name a feature .* one integer, got 'image'"),
        ({"image_key": "number"}, "must name an 8-bit image"),
        ({"image_key": "image"}, r"shape \(None, None, 3\); set `TFDS.image_size`"),
        ({"memory_limit_bytes": 1000}, "would take 1620 bytes .*`TFDS.memory_limit_bytes` = 1000"),
    ],
)
def test_wrong_settings_are_refused_when_loaded(folders, settings, message):
    settings = {"name": "tiny_images", "data_dir": folders["tfrecord"], "image_key": "fixed", **settings}
    with pytest.raises(ConfigurationError, match=message):
        TFDS(**settings).load("train")


def test_damaged_files_are_named(tmp_path):
    tfds.builder("tiny_images", data_dir=tmp_path).download_and_prepare(file_format="tfrecord")
    (path,) = tmp_path.rglob("*test.tfrecord*")
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(DataError, match=f"{tmp_path}.* cannot be read: .*delete it"):
        TFDS("tiny_images", tmp_path, image_key="fixed").load("evaluation")


def test_a_name_that_would_run_the_code_of_others_is_refused():
    with pytest.raises(ConfigurationError, match="would run its owner's code"):
        TFDS("somebody:mnist")
    for name in ("somebody:9mnist", "9:mnist", "a:b:1.0.0", "mnist\n", ""):
        with pytest.raises(ConfigurationError, match=r"`TFDS.name` must be one of"):
            TFDS(name)
    for name in ("mnist:3.0.1", "mnist:3.*.*", "imagenet_v2/topimages:1.0.0"):
        assert TFDS(name).name == name


def test_settings_are_checked_when_made(monkeypatch):
    for size in ((3,), 3, (0, 3)):
        with pytest.raises(ValueError, match=r"`TFDS.image_size`"):
            TFDS("tiny_images", image_size=size)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigurationError, match=r"pip install 'vaeflow\[tfds\]'"):
        TFDS("tiny_images")


@pytest.fixture
def foreign_folder(tmp_path):
    """Makes a prepared dataset whose files name a class of a module that would leave a mark when imported."""

    def make(features):
        folder = tmp_path / "stranger" / "1.0.0"
        folder.mkdir(parents=True)
        information = {"name": "stranger", "version": "1.0.0", "fileFormat": "tfrecord", "moduleName": "trap"}
        (folder / "dataset_info.json").write_text(json.dumps(information))
        (folder / "features.json").write_text(json.dumps(features))
        return tmp_path

    return make


EVIL = {"pythonClassName": "trap_of_tests.Feature", "jsonFeature": {"json": "{}"}}
OWN = "tensorflow_datasets.core.features."
DICTIONARY = f"{OWN}features_dict.FeaturesDict"


@pytest.mark.parametrize(
    "features",
    [
        EVIL,
        {"type": "trap_of_tests.Feature", "content": {}},
        {
            "pythonClassName": DICTIONARY,
            "featuresDict": {"features": {"image": EVIL}},
        },
        {"pythonClassName": f"{OWN}sequence_feature.Sequence", "sequence": {"feature": EVIL}},
        {
            "type": f"{OWN}sequence_feature.Sequence",
            "content": {"length": 1, "feature": {"type": "trap_of_tests.Feature", "content": {}}},
        },
        {"pythonClassName": "tensorflow_datasets_trap.Feature", "jsonFeature": {"json": "{}"}},
    ],
    ids=["proto", "legacy", "in a dict", "in a sequence", "in a legacy sequence", "a similar name"],
)
def test_a_folder_can_import_no_module(foreign_folder, features, tmp_path, monkeypatch):
    mark = tmp_path / "imported"
    for name in ("trap_of_tests", "tensorflow_datasets_trap", "trap"):
        (tmp_path / f"{name}.py").write_text(f"open({str(mark)!r}, 'w')")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ConfigurationError, match=r"files of tfds stranger is refused: .*--plugin=\w*trap"):
        TFDS("stranger", str(foreign_folder(features))).load("train")
    assert not mark.exists()


def test_a_module_that_was_consented_to_may_be_named(foreign_folder, tmp_path, monkeypatch):
    (tmp_path / "trusted_by_tests.py").write_text(
        "import tensorflow_datasets as tfds\n\n\nclass Feature(tfds.features.Image):\n    pass\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    registry.load_plugin("trusted_by_tests")
    image = tfds.features.Image(shape=(6, 9, 3)).to_json() | {"type": "trusted_by_tests.Feature"}
    features = {"type": DICTIONARY, "content": {"image": image}}
    with pytest.raises(ConfigurationError, match=r"`TFDS.train_split` must be a split of stranger"):
        TFDS("stranger", str(foreign_folder(features))).load("train")


def test_tfds_is_left_as_it_was(folders):
    before = vars(tfds.features.FeatureConnector)["cls_from_name"]
    TFDS("tiny_images", folders["tfrecord"], image_key="fixed").load("train")
    assert vars(tfds.features.FeatureConnector)["cls_from_name"] is before


def test_a_pipe_in_a_prepared_folder_is_named(foreign_folder):
    folder = foreign_folder({})
    os.mkfifo(folder / "stranger" / "1.0.0" / "stranger-train.tfrecord-00000-of-00001")
    with pytest.raises(DataError, match=r"stranger-train.* is a pipe; expected a regular file"):
        TFDS("stranger", str(folder)).load("train")
