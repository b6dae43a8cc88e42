"""Random crops: where they may lie, and how often."""

import numpy as np
import pytest
import tensorflow as tf

from tests.fixtures import places
from vaeflow import random
from vaeflow.datasets import InMemorySplit
from vaeflow.datasets.augmentations import RandomCrop
from vaeflow.datasets.augmented import AugmentedSplit
from vaeflow.errors import ConfigurationError

NUM = 6000
SIZE = (5, 6)  # Of 8 x 9 pixels: 4 x 4 places.


@pytest.fixture(scope="module")
def crops():
    with random.keyed(1, "crops", 0):
        return RandomCrop(SIZE).augment(tf.constant(places.images(1).repeat(NUM, axis=0))).numpy()


def test_a_crop_is_a_rectangle_of_the_image(crops):
    rows, columns = np.mgrid[:5, :6]
    first = crops[:, :1, :1, :2].astype(int)
    np.testing.assert_array_equal(crops[..., :2], first + places.STRIDE * np.dstack([rows, columns]))


def test_a_crop_keeps_the_dtype(crops):
    assert crops.dtype == np.uint8


def test_every_place_is_equally_likely(crops):
    rows, columns = places.corners(crops).T
    counts = np.bincount(rows * 4 + columns, minlength=16)
    assert len(counts) == 16
    # Chi-square with 15 degrees of freedom is above 44.3 once in 10,000 times.
    assert np.sum((counts - NUM / 16) ** 2 / (NUM / 16)) < 44.3


@pytest.mark.parametrize(("size", "most"), [(8, 0), (1, 7)])
def test_the_largest_draw_is_the_last_place(size, most):
    draws = tf.constant([[1 - 2.0**-33, 2.0**-33]], tf.float64)
    np.testing.assert_array_equal(RandomCrop(size).corners(draws, (8, 8)), [[most, 0]])


def test_a_million_rows_do_not_round_the_last_place_away():
    draws = tf.constant([[1 - 2.0**-33, 0.5]], tf.float64)
    np.testing.assert_array_equal(RandomCrop(1).corners(draws, (10**6, 10**6)), [[10**6 - 1, 5 * 10**5]])


@pytest.mark.parametrize(("size", "expected"), [(8, [0, 0]), (5, [1, 2]), ((4, 9), [2, 0]), (1, [3, 4])])
def test_the_middle_leaves_as_much_on_both_sides(size, expected):
    assert RandomCrop(size).center((8, 9)) == expected


@pytest.mark.parametrize("size", [(9, 8), (8, 10), 10])
def test_a_crop_larger_than_the_images_is_refused(size):
    with pytest.raises(ConfigurationError, match=r"at most the size of the images, 8x9, got \d+x\d+; make"):
        AugmentedSplit(InMemorySplit(places.images(2)), [RandomCrop(size)])


@pytest.mark.parametrize("size", [(1, 2, 3), (4,)])
def test_a_size_is_a_pair(size):
    with pytest.raises(ConfigurationError, match=r"RandomCrop.size` must be \(height, width\) or one number"):
        RandomCrop(size)


@pytest.mark.parametrize("size", [0, -3, 2.5, "8", (8, 0), None])
def test_a_size_is_positive(size):
    with pytest.raises(ValueError, match=r"RandomCrop.size"):
        RandomCrop(size)
