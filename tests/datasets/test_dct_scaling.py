"""JPEGs that are scaled in their DCT: as they look when they are scaled whole, with other pixels."""

import io

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from tests.fixtures.image_folders import read_images
from vaeflow.datasets import ImageFolder, RandomAccess
from vaeflow.datasets.augmentations import RandomCrop
from vaeflow.datasets.decoding import decode_image
from vaeflow.errors import ConfigurationError


def picture(height=320, width=480):
    """Smooth waves in three colours, so that there is little to lose."""
    rows, columns = np.mgrid[:height, :width] / height
    waves = [np.sin(3 * rows + phase) * np.cos(4 * columns - phase) for phase in range(3)]
    return np.round(127 + 120 * np.stack(waves, axis=-1)).astype(np.uint8)


def jpeg(image):
    written = io.BytesIO()
    Image.fromarray(image).save(written, "JPEG", quality=95)
    return written.getvalue()


DATA = jpeg(picture())


@pytest.mark.parametrize("size", [(20, 30), (40, 60), (60, 80), (80, 120)])
def test_it_looks_like_the_whole_scaled(size):
    whole, reduced = (
        decode_image(DATA, "it", 3, size, dct_scaling).astype(int) for dct_scaling in (False, True)
    )
    assert whole.shape == reduced.shape == (*size, 3)
    assert 0 < np.abs(whole - reduced).max() <= 8


@pytest.mark.parametrize("size", [(161, 241), (100, 100), (160, 300), (400, 500), None])
def test_less_than_twice_the_size_is_decoded_whole(size):
    np.testing.assert_array_equal(decode_image(DATA, "it", 3, size, True), decode_image(DATA, "it", 3, size))


def test_of_a_wide_image_the_side_that_decides_counts():
    """8 rows of a quarter remain of 32, and 12 are twice 6; the columns would allow an eighth."""
    data = jpeg(picture(32, 480))
    at_a_half = tf.io.decode_jpeg(data, channels=3, ratio=2).numpy()
    found = decode_image(data, "it", 3, (8, 8), True)
    assert at_a_half.shape == (16, 240, 3)
    middle = at_a_half[:, 112:128].reshape(8, 2, 8, 2, 3).mean(axis=(1, 3))
    assert np.abs(found - middle).max() < 12


def test_other_formats_and_grey_images_are_decoded_too():
    written = io.BytesIO()
    Image.fromarray(picture()).save(written, "PNG")
    png = written.getvalue()
    np.testing.assert_array_equal(
        decode_image(png, "it", 3, (20, 30), True), decode_image(png, "it", 3, (20, 30))
    )
    assert decode_image(DATA, "it", 1, (20, 30), True).shape == (20, 30, 1)


def test_it_is_a_choice_and_part_of_the_fingerprint(tmp_path):
    for number in range(10):
        (tmp_path / f"{number}.jpg").write_bytes(DATA)
    splits = [
        ImageFolder(tmp_path, image_size=(20, 30), dct_scaling=dct_scaling, evaluation_fraction=0).load(
            "train"
        )
        for dct_scaling in (False, True)
    ]
    splits.append(RandomAccess([DATA] * 10, [DATA], image_size=(20, 30), dct_scaling=True).load("train"))
    expected = [decode_image(DATA, "it", 3, (20, 30), each) for each in (False, True, True)]
    for split, image in zip(splits, expected, strict=True):
        np.testing.assert_array_equal(read_images(split), [image] * 10)
    assert splits[0].fingerprint() != splits[1].fingerprint()


def test_images_that_are_not_scaled_to_a_size_are_refused(tmp_path):
    crop = [RandomCrop(4)]
    for size in (None, 8):
        with pytest.raises(
            ConfigurationError, match=r"`ImageFolder.dct_scaling` needs `ImageFolder.image_size`"
        ):
            ImageFolder(tmp_path, image_size=size, augmentations=crop, dct_scaling=True)
