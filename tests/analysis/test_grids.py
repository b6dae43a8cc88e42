"""Image grids, pixel by pixel."""

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image, ImageSequence

from vaeflow.analysis import grids


def test_images_go_from_left_to_right_then_down():
    values = np.arange(5, dtype=np.float32).reshape(5, 1, 1, 1) / 10
    pixels = grids.grid(np.broadcast_to(values, (5, 2, 3, 1)), columns=2, gap=1)
    assert pixels.shape == (3 * 3 + 1, 2 * 4 + 1, 1)
    assert pixels.dtype == np.uint8
    expected = np.full((10, 9, 1), 255)
    expected[1:3, 1:4], expected[1:3, 5:8] = 0, 26  # 25.5 rounds to the even 26.
    expected[4:6, 1:4], expected[4:6, 5:8] = 51, 76
    expected[7:9, 1:4] = 102
    np.testing.assert_array_equal(pixels, expected)


def test_pixels_are_scaled_rounded_and_clipped():
    row = np.array([-3.0, 0.0, 0.4999, 1.0, 7.0]).reshape(1, 1, 5, 1)
    assert grids.grid(row, columns=1, gap=0).ravel().tolist() == [0, 0, 127, 255, 255]


@pytest.mark.parametrize(("channels", "shown"), [(1, 1), (2, 1), (3, 3), (4, 3), (9, 3)])
def test_the_first_channels_are_shown(channels, shown):
    picture = np.random.default_rng(0).random((2, 3, 4, channels))
    pixels = grids.grid(picture, columns=2, gap=0)
    assert pixels.shape == (3, 8, shown)
    np.testing.assert_array_equal(pixels[:, :4], np.round(picture[0, ..., :shown].astype(np.float32) * 255))


@pytest.mark.parametrize("channels", [1, 3])
def test_a_png_keeps_every_pixel(tmp_path, channels):
    pixels = np.random.default_rng(0).integers(0, 256, (7, 5, channels), np.uint8)
    path = tmp_path / "grid.png"
    grids.write_png(path, pixels)
    np.testing.assert_array_equal(tf.io.decode_png(path.read_bytes()), pixels)


def test_texts_stand_beside_rows_and_above_images():
    values = np.random.default_rng(0).random((5, 20, 30, 3)).astype(np.float32)
    plain = grids.grid(values, columns=3)
    captions = ["a", "b", "", "a", "wide"]
    captioned = grids.grid(values, columns=3, captions=captions)
    labelled = grids.grid(values, columns=3, row_labels=["z03  2.41", "z00  0.10"])
    line, margin = (captioned.shape[0] - plain.shape[0]) // 2, labelled.shape[1] - plain.shape[1]
    assert captioned.shape[1] == plain.shape[1]
    assert labelled.shape[0] == plain.shape[0]
    assert line > 10
    assert margin > 50
    # Without the texts it is the same grid.
    np.testing.assert_array_equal(labelled[:, margin:], plain)
    np.testing.assert_array_equal(captioned[2 + line :][:22], plain[2:24])
    np.testing.assert_array_equal(captioned[24 + 2 * line :], plain[24:])
    texts = [captioned[2 + r * (22 + line) :, 2 + c * 32 :][:line, :30] for r, c in np.ndindex(2, 3)]
    dark = [np.sum(text < 128) for text in texts]
    assert dark[0] == dark[3] > 10
    assert dark[2] == dark[5] == 0
    assert dark[4] > dark[0]
    rows = [labelled[2 + r * 22 :, :margin][:20] for r in range(2)]
    assert all(np.sum(row < 128) > 50 for row in rows)
    assert np.any(rows[0] != rows[1])
    # Nothing of a text is cut off.
    assert (labelled[:, :2] == 255).all()
    assert (labelled[:, margin - 2 : margin] == 255).all()


def test_rows_in_pairs():
    above = np.arange(5, dtype=np.float32).reshape(5, 1, 1, 1) / 10
    ordered = grids.in_pairs_of_rows(above, above + 0.5, columns=3).ravel()
    expected = [0.0, 0.1, 0.2, 0.5, 0.6, 0.7, 0.3, 0.4, 1.0, 0.8, 0.9, 1.0]
    np.testing.assert_allclose(ordered, expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("width", "columns", "factor"), [(28, 8, 3), (28, 11, 2), (64, 8, 1), (300, 8, 1), (1, 2, 375)]
)
def test_small_images_are_enlarged(width, columns, factor):
    picture = np.random.default_rng(0).random((2, 3, width, 1))
    enlarged = grids.enlarge(picture, columns)
    assert enlarged.shape == (2, 3 * factor, width * factor, 1)
    for row, column in np.ndindex(factor, min(factor, 4)):
        np.testing.assert_array_equal(enlarged[:, row::factor, column::factor], picture)


def test_many_rows_of_few_columns_are_enlarged_less():
    assert grids.rows(np.zeros((32, 3, 28, 28, 1))).shape == (32 * 58 + 2, 3 * 58 + 2, 1)


def read_gif(path):
    with Image.open(path) as file:
        frames = []
        for frame in ImageSequence.Iterator(file):
            frames.append(np.asarray(frame.convert("RGB")))
            assert frame.info["duration"] == 120
        assert file.info["loop"] == 0
    return np.array(frames)


def test_a_gif_keeps_every_grey_level(tmp_path):
    frames = np.random.default_rng(0).integers(0, 256, (6, 40, 30, 1), np.uint8)
    frames[0, :16, :16, 0] = np.arange(256).reshape(16, 16)
    grids.write_gif(tmp_path / "grey.gif", frames, 0.12)
    np.testing.assert_array_equal(read_gif(tmp_path / "grey.gif"), frames.repeat(3, axis=-1))


def test_a_gif_keeps_up_to_256_colours(tmp_path):
    generator = np.random.default_rng(0)
    palette = generator.integers(0, 256, (256, 3), np.uint8)
    frames = palette[generator.integers(0, 256, (5, 20, 30))]
    grids.write_gif(tmp_path / "colours.gif", list(frames), 0.12)
    np.testing.assert_array_equal(read_gif(tmp_path / "colours.gif"), frames)


def test_a_gif_of_more_colours_is_near_and_does_not_flicker(tmp_path):
    row = np.linspace(0, 255, 64)
    picture = np.stack(np.broadcast_arrays(row[:, None], row[None], 128.0), axis=-1).astype(np.uint8)
    frames = np.stack([picture] * 4)
    frames[:, 60:, 60:] = np.arange(0, 240, 60)[:, None, None, None]
    grids.write_gif(tmp_path / "colours.gif", frames, 0.12)
    shown = read_gif(tmp_path / "colours.gif").astype(int)
    assert shown.shape == frames.shape
    assert np.mean(np.abs(shown - frames)) < 6
    np.testing.assert_array_equal(shown[1:, :60], np.broadcast_to(shown[0, :60], (3, 60, 64, 3)))


def test_rows_and_frames_show_the_same_images():
    values = np.random.default_rng(0).random((5, 4, 6, 50, 1)).astype(np.float32)
    # Four columns of 50 pixels are enlarged by 4, three by 5.
    pixels = np.round(values * 255)[..., 0]
    rows = grids.rows(values)
    assert rows.shape == (5 * (24 + 2) + 2, 4 * (200 + 2) + 2, 1)
    frames = np.array(grids.frames(values))
    assert frames.shape == (6, 2 * (30 + 2) + 2, 3 * (250 + 2) + 2, 1)
    for each, step in np.ndindex(5, 4):
        shown = rows[2 + each * 26 :, 2 + step * 202 :][:24, :200, 0]
        np.testing.assert_array_equal(shown[::4, ::4], pixels[each, step])
        shown = frames[step, 2 + each // 3 * 32 :, 2 + each % 3 * 252 :][:30, :250, 0]
        np.testing.assert_array_equal(shown[::5, ::5], pixels[each, step])
    # And back.
    np.testing.assert_array_equal(frames[4:], frames[[2, 1]])
    assert len(grids.frames(values[:, :2])) == 2


def test_labels_are_enlarged_for_a_picture_that_is_shown_smaller_than_it_is():
    images = np.zeros((2, 3, 50, 50, 1))
    usual = grids.rows(images, ["a", "b"])
    doubled = grids.rows(images, ["a", "b"], shown_width=375)  # Half of its images.
    assert usual.shape == (2 * 252 + 2, 76 + 3 * 252 + 2, 1)
    assert doubled.shape == (2 * 252 + 2, 2 * 76 + 3 * 252 + 2, 1)
    ink = [np.sum(picture[:, : -3 * 252] < 128) for picture in (usual, doubled)]
    assert ink[1] > 2 * ink[0]
