"""Image grids, pixel by pixel."""

import numpy as np
import pytest
import tensorflow as tf

from vaeflow import images


def test_images_go_from_left_to_right_then_down():
    values = np.arange(5, dtype=np.float32).reshape(5, 1, 1, 1) / 10
    pixels = images.grid(np.broadcast_to(values, (5, 2, 3, 1)), columns=2, gap=1)
    assert pixels.shape == (3 * 3 + 1, 2 * 4 + 1, 1) and pixels.dtype == np.uint8
    expected = np.full((10, 9, 1), 255)
    expected[1:3, 1:4], expected[1:3, 5:8] = 0, 26  # 25.5 rounds to the even 26.
    expected[4:6, 1:4], expected[4:6, 5:8] = 51, 76
    expected[7:9, 1:4] = 102
    np.testing.assert_array_equal(pixels, expected)


def test_pixels_are_scaled_rounded_and_clipped():
    row = np.array([-3.0, 0.0, 0.4999, 1.0, 7.0]).reshape(1, 1, 5, 1)
    assert images.grid(row, columns=1, gap=0).ravel().tolist() == [0, 0, 127, 255, 255]


@pytest.mark.parametrize(("channels", "shown"), [(1, 1), (2, 1), (3, 3), (4, 3), (9, 3)])
def test_the_first_channels_are_shown(channels, shown):
    picture = np.random.default_rng(0).random((2, 3, 4, channels))
    pixels = images.grid(picture, columns=2, gap=0)
    assert pixels.shape == (3, 8, shown)
    np.testing.assert_array_equal(pixels[:, :4], np.round(picture[0, ..., :shown].astype(np.float32) * 255))


@pytest.mark.parametrize("channels", [1, 3])
def test_a_png_keeps_every_pixel(tmp_path, channels):
    pixels = np.random.default_rng(0).integers(0, 256, (7, 5, channels), np.uint8)
    path = tmp_path / "new" / "folder" / "grid.png"
    images.write_png(path, pixels)
    np.testing.assert_array_equal(tf.io.decode_png(path.read_bytes()), pixels)
