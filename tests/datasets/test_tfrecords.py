"""TFRecord files of encoded and raw images."""

import os

import numpy as np
import pytest
import tensorflow as tf

from vaeflow.datasets import TFRecords
from vaeflow.errors import ConfigurationError, DataError

IMAGES = np.random.RandomState(0).randint(0, 256, (20, 5, 7, 3)).astype(np.uint8)


def example_with(place, **changes):
    features = {
        "image": tf.train.Feature(
            bytes_list=tf.train.BytesList(value=[tf.io.encode_png(IMAGES[place]).numpy()])
        ),
        "pixels": tf.train.Feature(bytes_list=tf.train.BytesList(value=[IMAGES[place].tobytes()])),
        "number": tf.train.Feature(int64_list=tf.train.Int64List(value=[place])),
        **changes,
    }
    return tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString()


def write_records(path, payloads):
    with tf.io.TFRecordWriter(str(path)) as writer:
        for payload in payloads:
            writer.write(payload)


@pytest.fixture
def pattern(tmp_path):
    write_records(tmp_path / "part-1.tfrecord", [example_with(place) for place in range(12)])
    write_records(tmp_path / "part-2.tfrecord", [example_with(place) for place in range(12, 20)])
    return str(tmp_path / "part-*.tfrecord")


def read_images(split, indices):
    return split.examples(tf.constant(indices, tf.int64)).numpy()


@pytest.mark.parametrize(
    "settings", [{}, {"shape": (5, 7, 3)}, {"image_key": "pixels", "image_format": "raw", "shape": (5, 7, 3)}]
)
def test_a_part_is_held_out(pattern, settings):
    dataset = TFRecords(pattern, evaluation_fraction=0.2, label_key="number", **settings)
    train, evaluation = dataset.load("train"), dataset.load("evaluation")
    assert (train.num_examples, evaluation.num_examples) == (16, 4)
    places = []
    for split in (train, evaluation):
        assert split.shape == (5, 7, 3)
        assert split.dtype == "uint8"
        assert split.factor_names == ("label",)
        order = np.random.RandomState(1).permutation(split.num_examples)
        numbers = split.factors(order)[:, 0]
        np.testing.assert_array_equal(read_images(split, order), IMAGES[numbers])
        stream = tf.data.Dataset.from_tensor_slices(order).batch(3).map(split.labels)
        np.testing.assert_array_equal(np.concatenate(list(stream))[:, 0], numbers)
        # The largest label of all files, whichever split it is in.
        assert split.factor_sizes == (20,)
        places.extend(numbers)
    assert sorted(places) == list(range(20))


def test_evaluation_files_of_their_own(pattern, tmp_path):
    write_records(tmp_path / "held_out.tfrecord", [example_with(7)])
    dataset = TFRecords([pattern], tmp_path / "held_out.tfrecord")
    assert dataset.load("train").num_examples == 20
    evaluation = dataset.load("evaluation")
    np.testing.assert_array_equal(read_images(evaluation, [0]), IMAGES[[7]])
    assert evaluation.factors(np.array([0])) is None
    assert evaluation.factor_names == ()


def number(value):
    return tf.train.Feature(int64_list=tf.train.Int64List(value=[value]))


def test_labels_have_the_size_of_the_training_files(pattern, tmp_path):
    write_records(tmp_path / "held_out", [example_with(7), example_with(5, number=number(20))])
    settings = {"evaluation": tmp_path / "held_out", "label_key": "number"}
    evaluation = TFRecords(pattern, **settings).load("evaluation")
    assert evaluation.factor_sizes == (20,)
    stream = tf.data.Dataset.range(2).batch(1).map(evaluation.labels)
    message = r"DataError: .*held_out, record 1: the label 'label' is 20; expected 0 to 19, one of 20 values"
    with pytest.raises(tf.errors.UnknownError, match=message):
        list(stream)
    evaluation = TFRecords(pattern, num_classes=30, **settings).load("evaluation")
    assert evaluation.factor_sizes == (30,)
    assert evaluation.labels(tf.constant([1, 0])).numpy().tolist() == [[20], [7]]


def test_a_record_without_a_label_is_named(pattern, tmp_path):
    write_records(tmp_path / "train", [example_with(7), example_with(5, number=number(-1))])
    split = TFRecords(tmp_path / "train", label_key="number").load("train")
    with pytest.raises(DataError, match=r"train, record 1: the label is -1; expected an integer from 0"):
        _ = split.factor_sizes
    with pytest.raises(ValueError, match=r"`TFRecords.num_classes` must be a positive integer, got 0"):
        TFRecords(pattern, num_classes=0)


def test_a_shape_fits_encoded_images(pattern):
    split = TFRecords(pattern, shape=(5, 5, 1)).load("train")
    assert read_images(split, [0, 1]).shape == (2, 5, 5, 1)
    assert read_images(split, []).shape == (0, 5, 5, 1)


def bytes_feature(*values):
    return tf.train.Feature(bytes_list=tf.train.BytesList(value=values))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("payload", "message"),
    [
        (b"\xff\xffnonsense", "is not a tf.train.Example"),
        (
            example_with(0, image=bytes_feature()),
            "feature 'image' has 0 values.*has the features image, number, pixels",
        ),
        (example_with(0, image=bytes_feature(b"a", b"b")), "feature 'image' has 2 values"),
        (example_with(0, image=bytes_feature(b"text")), "cannot be decoded as an image"),
        (
            example_with(0, image=bytes_feature(tf.io.encode_png(IMAGES[0, :4]).numpy())),
            r"is 4x7 pixels, expected 5x7 as in the first record; set `TFRecords.shape`",
        ),
    ],
)
def test_a_bad_record_is_named_inside_tf_data(tmp_path, payload, message):
    write_records(tmp_path / "train", [example_with(1), payload])
    split = TFRecords(str(tmp_path / "train"), str(tmp_path / "train")).load("train")
    stream = tf.data.Dataset.range(2).batch(2).map(split.examples)
    with pytest.raises(tf.errors.UnknownError, match=rf"DataError: .*train, record 1.*{message}"):
        list(stream)


def test_raw_images_must_have_their_size(pattern):
    split = TFRecords(pattern, image_key="pixels", image_format="raw", shape=(5, 8, 3)).load("train")
    with pytest.raises(
        DataError, match=r"part-1.tfrecord, record \d+: the image has 105 bytes, expected 120"
    ):
        read_images(split, [0])


def test_settings_and_missing_files(pattern, tmp_path):
    with pytest.raises(DataError, match=r"no file matches .*none-"):
        TFRecords(str(tmp_path / "none-*")).load("train")
    with pytest.raises(ConfigurationError, match=r"`TFRecords.train`"):
        TFRecords([])
    with pytest.raises(ConfigurationError, match=r"`TFRecords.evaluation`.*got 3"):
        TFRecords(pattern, 3)
    with pytest.raises(ConfigurationError, match=r"`TFRecords.shape` must be .* for raw images, got None"):
        TFRecords(pattern, image_format="raw")
    for shape in ((5, 7), (5, 7, 2), (0, 1, 3)):
        with pytest.raises(ValueError, match=r"`TFRecords.shape`"):
            TFRecords(pattern, shape=shape)
    with pytest.raises(ValueError, match=r"`TFRecords.image_format` must be one of 'encoded', 'raw'"):
        TFRecords(pattern, image_format="png")


def test_whether_to_cache_is_a_boolean(pattern):
    with pytest.raises(ValueError, match=r"`TFRecords.cache` must be True or False, got 1"):
        TFRecords(pattern, cache=1)


@pytest.mark.parametrize("folder", ["lr=[1e-3]", "a*b", "what?", "[!x]", "{a,b}"])
def test_a_folder_that_exists_is_no_pattern(tmp_path, folder):
    (tmp_path / folder / "sub").mkdir(parents=True)
    for name in ("a[0].tfrecord", "b.tfrecord", "sub/c.tfrecord"):
        write_records(tmp_path / folder / name, [example_with(place) for place in range(3)])
    for pattern, count in (
        ("a[[]0].tfrecord", 3),
        ("a[0].tfrecord", 3),
        ("*.tfrecord", 6),
        ("**/*.tfrecord", 9),
    ):
        split = TFRecords(str(tmp_path / folder / pattern), evaluation_fraction=0.0).load("train")
        assert split.num_examples == count, pattern


def test_a_file_counts_once_whatever_links_lead_to_it(tmp_path, pattern, warnings):
    (tmp_path / "part-3.tfrecord").symlink_to("part-1.tfrecord")
    (tmp_path / "part-4.tfrecord").hardlink_to(tmp_path / "part-2.tfrecord")
    assert TFRecords([pattern, pattern], evaluation_fraction=0.0).load("train").num_examples == 20
    assert warnings()[0].startswith("2 of the files that match")


def test_the_evaluation_must_have_files_of_its_own(tmp_path, pattern):
    (tmp_path / "test.tfrecord").symlink_to("part-1.tfrecord")
    with pytest.raises(ConfigurationError, match=r"test.tfrecord belongs to `TFRecords.train` and to"):
        TFRecords(pattern, str(tmp_path / "test.tfrecord")).load("evaluation")


def test_a_pipe_among_the_records_is_named(tmp_path, pattern):
    os.mkfifo(tmp_path / "part-0.tfrecord")
    with pytest.raises(DataError, match=r"part-0.tfrecord is a pipe; expected a regular file"):
        TFRecords(pattern).load("train")


def write_raw(path, images):
    values = [tf.train.Feature(bytes_list=tf.train.BytesList(value=[image.tobytes()])) for image in images]
    write_records(path, [example_with(0, pixels=value) for value in values])
    return {"train": str(path), "image_key": "pixels", "image_format": "raw", "evaluation_fraction": 0.0}


def test_raw_images_may_have_their_channels_first(tmp_path):
    settings = write_raw(tmp_path / "a.tfrecord", np.moveaxis(IMAGES, 3, 1))
    with pytest.raises(ConfigurationError, match=r"looks like \(C, H, W\); set it to \(5, 7, 3\)"):
        TFRecords(**settings, shape=(3, 5, 7))
    split = TFRecords(**settings, shape=(5, 7, 3), layout="NCHW").load("train")
    np.testing.assert_array_equal(read_images(split, range(20)), IMAGES)


def test_raw_images_of_another_range_are_refused_and_scaled(tmp_path):
    settings = write_raw(tmp_path / "a.tfrecord", IMAGES // 16) | {"shape": (5, 7, 3)}
    with pytest.raises(DataError, match=r"pixels of at most 15, .*set `TFRecords.pixel_range` = \(0, 15\)"):
        TFRecords(**settings).load("train")
    split = TFRecords(**settings, pixel_range=(0, 15)).load("train")
    assert split.dtype == "float32"
    np.testing.assert_array_equal(read_images(split, [3])[0], (IMAGES[3] // 16 / 15.0).astype(np.float32))
