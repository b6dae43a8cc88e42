"""TFRecord files of images of mixed sizes, cropped where they are decoded."""

import numpy as np
import pytest
import tensorflow as tf

from tests.fixtures import places
from vaeflow.datasets import TFRecords, pipeline
from vaeflow.datasets.augmentations import RandomCrop
from vaeflow.errors import ConfigurationError, DataError

SIZES = [(8, 9), (12, 8), (9, 11), (13, 8), (8, 8), (10, 10)]
CROP = (6, 5)


def write(path, sizes=SIZES):
    """Images whose third channel is their number; the label is the number too."""
    with tf.io.TFRecordWriter(str(path)) as writer:
        for number, size in enumerate(sizes):
            image = tf.io.encode_png(places.images(len(sizes), *size)[number]).numpy()
            features = {
                "image": tf.train.Feature(bytes_list=tf.train.BytesList(value=[image])),
                "label": tf.train.Feature(int64_list=tf.train.Int64List(value=[number])),
            }
            example = tf.train.Example(features=tf.train.Features(feature=features))
            writer.write(example.SerializeToString())
    return path


def records(path, **settings):
    given = {"shape": (None, None, 3), "augmentations": [RandomCrop(CROP)], "label_key": "label"}
    return TFRecords(path, path.with_name("evaluation"), **given | settings)


@pytest.fixture
def path(tmp_path):
    write(tmp_path / "evaluation", SIZES[::-1])
    return write(tmp_path / "train")


@pytest.mark.slow
def test_training_crops_somewhere_within_each_image(path):
    split = pipeline.read_split(records(path), "train", augmented=True)
    assert split.stored_shape == split.shape == (*CROP, 3)
    indices = tf.constant(np.repeat(np.arange(6), 20), tf.int64)
    crops = split.training_examples(indices, 3, tf.constant(0, tf.int64)).numpy()
    corners = places.corners(crops)
    for crop, corner in zip(crops, corners, strict=True):
        rows, columns = np.mgrid[:6, :5] + corner[:, None, None]
        np.testing.assert_array_equal(crop[..., 0], places.STRIDE * rows)
        np.testing.assert_array_equal(crop[..., 1], places.STRIDE * columns)
    np.testing.assert_array_equal(crops[:, 0, 0, 2], places.STRIDE * np.repeat(np.arange(6), 20))
    for number, size in enumerate(SIZES):
        own = corners[20 * number : 20 * number + 20]
        assert np.all(own.max(axis=0) <= np.array(size) - CROP)
        assert len(np.unique(own, axis=0)) > 3


def test_elsewhere_the_middle_is_seen_and_labels_are_read(path):
    split = pipeline.read_split(records(path), "evaluation")
    images = split.examples(tf.range(6, dtype=tf.int64)).numpy()
    for number, (image, size) in enumerate(zip(images, SIZES[::-1], strict=True)):
        row, column = (np.array(size) - CROP) // 2
        expected = places.images(6, *size)[number, row : row + 6, column : column + 5]
        np.testing.assert_array_equal(image, expected)
    np.testing.assert_array_equal(split.factors(np.array([4, 1])), [[4], [1]])
    assert split.factor_sizes == (6,)


def test_the_shorter_side_is_scaled_first(tmp_path):
    path = write(tmp_path / "train", [(12, 12)])
    write(tmp_path / "evaluation", [(12, 12)])
    split = pipeline.read_split(records(path, image_size=6, augmentations=[RandomCrop((6, 6))]), "train")
    [image] = split.examples(tf.constant([0], tf.int64)).numpy().astype(int)
    # The middle of two pixels of a slope, but for its ends.
    expected = places.STRIDE * (2 * np.arange(1, 5) + 0.5)
    np.testing.assert_allclose(image[1:-1, :, 0], np.tile(expected[:, None], (1, 6)), atol=0.5)


def test_an_image_smaller_than_the_crop_is_named(tmp_path):
    path = write(tmp_path / "train", [(8, 9), (5, 9)])
    write(tmp_path / "evaluation")
    split = pipeline.read_split(records(path), "train")
    with pytest.raises(DataError, match=r"train, record 1 is 5x9 pixels, smaller than `RandomCrop.size`"):
        split.examples(tf.constant([0, 1], tf.int64))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"augmentations": []}, r"means images of mixed sizes; let `TFRecords.augmentations` begin with"),
        ({"image_size": (8, 8)}, r"`TFRecords.image_size` be a number or None"),
        ({"image_size": 4}, r"`RandomCrop.size` must be at most `TFRecords.image_size`"),
        ({"shape": (8, 8, 3), "image_size": 8}, r"set `TFRecords.shape` to \(None, None, C\)"),
        ({"image_format": "raw"}, r"must be \(H, W, C\) for raw images, got \(None, None, 3\)"),
        ({"shape": (None, None, 2)}, r"last number of `TFRecords.shape`.*got 2"),
        ({"shape": (None, 8, 3)}, r"`TFRecords.shape`"),
        ({"binarization": "static"}, r"`TFRecords.binarization` must be"),
    ],
)
def test_settings_that_do_not_fit_are_refused(path, settings, message):
    with pytest.raises((ConfigurationError, ValueError), match=message):
        records(path, **settings)
