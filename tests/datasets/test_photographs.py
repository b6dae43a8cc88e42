"""Patches of two photographs: which, in which order, and none of both splits."""

import numpy as np
import pytest
import tensorflow as tf
from sklearn.datasets import load_sample_image

from vaeflow.datasets import Photographs, photographs
from vaeflow.errors import ConfigurationError, DataError


@pytest.fixture
def coordinates(monkeypatch):
    """Photographs whose pixels tell their own place, as `(row, column, photograph)` do of `places_in`."""
    row, column, photograph = np.meshgrid(np.arange(427), np.arange(640), np.arange(2), indexing="ij")
    high = row // 256 + 2 * (column // 256) + 8 * photograph
    pixels = np.stack([row % 256, column % 256, high], -1).astype(np.uint8)
    monkeypatch.setattr(photographs, "_photographs", lambda: pixels.transpose(2, 0, 1, 3))


def places_in(images):
    """Rows, columns and photographs of all pixels `[n, S, S, 3]` of patches of `coordinates`."""
    low_row, low_column, high = np.moveaxis(images.astype(int), -1, 0)
    return low_row + 256 * (high % 2), low_column + 256 * (high // 2 % 4), high // 8


def read_images(split, indices):
    return split.examples(tf.constant(indices, tf.int64)).numpy()


@pytest.mark.parametrize(("size", "stride"), [(32, 9), (64, 16), (128, 32), (5, 11)])
def test_no_pixel_is_in_both_splits(coordinates, size, stride):
    dataset = Photographs(size, stride)
    seen = {}
    for name in ("train", "evaluation"):
        split = dataset.load(name)
        # Every row of patches has the same columns.
        first_row = np.arange(split.num_examples)[: len(split._columns)]
        rows, columns, photograph = places_in(read_images(split, first_row))
        assert (np.diff(columns, axis=2) == 1).all()
        assert (np.diff(rows, axis=1) == 1).all()
        assert set(np.unique(photograph)) == {0}
        seen[name] = set(np.unique(columns))
    assert seen["evaluation"] <= set(range(256, 384))
    assert not seen["train"] & set(range(256, 384))
    # On both sides of the evaluation, up to less than a stride from the edges.
    assert {0, 256 - stride, 384, 640 - stride} <= seen["train"]


@pytest.mark.parametrize("name", ["train", "evaluation"])
def test_the_patches_are_all_that_lie_in_the_region(coordinates, name):
    size, stride = 48, {"train": 19, "evaluation": 12}[name]
    split = Photographs(size, 19).load(name)
    regions = {"train": [(0, 256), (384, 640)], "evaluation": [(256, 384)]}[name]
    expected = [
        (photograph, row, column)
        for photograph in range(2)
        for row in range(0, 427 - 47, stride)
        for first, end in regions
        for column in range(first, end - 47, stride)
    ]
    assert split.num_examples == len(expected)
    rows, columns, numbers = places_in(read_images(split, range(len(expected))))
    found = zip(numbers[:, 0, 0], rows[:, 0, 0], columns[:, 0, 0])
    assert list(found) == expected
    assert split.labels(tf.range(len(expected), dtype=tf.int64)).numpy().tolist() == [
        [place[0]] for place in expected
    ]
    assert split.factors(np.arange(len(expected))).tolist() == [[place[0]] for place in expected]


@pytest.mark.slow
def test_they_are_those_of_scikit_learn():
    split = Photographs(64).load("train")
    assert split.num_examples == 281_008
    assert (split.shape, split.dtype) == ((64, 64, 3), "uint8")
    assert (split.factor_names, split.factor_sizes) == (("photograph",), (2,))
    china, flower = (load_sample_image(name) for name in ("china.jpg", "flower.jpg"))
    # 193 columns on each side; the last patch of all, and the first of the right side in row 7.
    first = 7 * 386 + 193
    stream = tf.data.Dataset.from_tensors(np.array([281_007, first, 0])).map(split.examples)
    images = next(stream.as_numpy_iterator())
    np.testing.assert_array_equal(images[0], flower[-64:, -64:])
    np.testing.assert_array_equal(images[1], china[7:71, 384:448])
    np.testing.assert_array_equal(images[2], china[:64, :64])


def test_the_evaluation_does_not_depend_on_the_stride():
    splits = [Photographs(stride=stride).load("evaluation") for stride in (1, 50)]
    assert splits[0].num_examples == 1300
    assert splits[0].fingerprint() == splits[1].fingerprint()
    assert splits[0].fingerprint() != Photographs(31).load("evaluation").fingerprint()


@pytest.mark.parametrize("settings", [{"image_size": 0}, {"image_size": 2.5}, {"stride": 0}])
def test_settings_are_checked(settings):
    with pytest.raises(ValueError, match=rf"`Photographs.{next(iter(settings))}` must be a positive integer"):
        Photographs(**settings)


def test_what_does_not_fit_the_region_is_refused():
    with pytest.raises(ConfigurationError, match=r"`Photographs.image_size` must be at most 128, .* got 129"):
        Photographs(129)


def test_no_validation_is_cut_out_of_patches_that_overlap():
    with pytest.raises(ConfigurationError, match=r"`Photographs.stride` to 32 or more, got 31"):
        Photographs(stride=31, validation_fraction=0.1)
    assert Photographs(stride=32, validation_fraction=0.1).load("train").num_examples == 13 * 16 * 2


@pytest.mark.parametrize("image", [None, np.zeros((4, 5, 3), np.uint8)])
def test_photographs_that_are_missing_or_others_are_refused(monkeypatch, image):
    def read(name):
        if image is None:
            raise FileNotFoundError(name)
        return image

    monkeypatch.setattr("sklearn.datasets.load_sample_image", read)
    with pytest.raises(DataError, match=r"the photographs of scikit-learn .*; install scikit-learn"):
        Photographs().load("train")
