"""Rectangles of images of any size: against Pillow, and against the whole image."""

import io

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image, ImageOps

from vaeflow.datasets.augmentations import RandomCrop
from vaeflow.datasets.crop_decoding import CropDecoder, prepared
from vaeflow.errors import DataError

HEIGHT, WIDTH = 90, 131


def picture(height=HEIGHT, width=WIDTH):
    """Smooth colours with some noise, uint8 `[height, width, 3]`."""
    generator = np.random.default_rng(0)
    coarse = Image.fromarray(generator.integers(0, 256, (5, 7, 3)).astype(np.uint8))
    smooth = np.array(coarse.resize((width, height), Image.Resampling.BICUBIC), int)
    return np.clip(smooth + generator.integers(-9, 10, smooth.shape), 0, 255).astype(np.uint8)


def encoded(image, kind="PNG", orientation=None, **options):
    written = io.BytesIO()
    own = Image.fromarray(image)
    if orientation:
        own.getexif()[0x0112] = orientation
        options["exif"] = own.getexif()
    own.save(written, kind, **options)
    return written.getvalue()


def decoded(data, draws, size=(20, 30), shorter_side=None, channels=3):
    decoder = CropDecoder(channels, shorter_side, RandomCrop(size))
    return decoder.decode_named(data, "the file", None if draws is None else np.array(draws, float))


def whole(data, channels=3):
    """The upright image, decoded by TensorFlow and turned by Pillow's names."""
    image = tf.io.decode_image(data, channels=channels, expand_animations=False).numpy()
    with Image.open(io.BytesIO(data)) as own:
        turned = Image.fromarray(image)
        turned.getexif()[0x0112] = own.getexif().get(0x0112, 1)
        return np.array(ImageOps.exif_transpose(turned))


JPEGS = [{"subsampling": number, "progressive": way} for number in (0, 1, 2) for way in (False, True)]


@pytest.mark.parametrize("options", JPEGS)
def test_a_rectangle_of_a_jpeg_is_that_of_the_whole(options):
    data = encoded(picture(), "JPEG", quality=85, **options)
    expected = whole(data)
    for draws in [*np.random.default_rng(1).random((12, 2)), (0, 0), (0.9999, 0.9999)]:
        row, column = int(draws[0] * (HEIGHT - 19)), int(draws[1] * (WIDTH - 29))
        rectangle = expected[row : row + 20, column : column + 30]
        np.testing.assert_array_equal(decoded(data, draws), rectangle)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_a_turned_image_is_cropped_upright(kind, orientation):
    data = encoded(picture(), kind, orientation)
    expected = whole(data)
    row, column = int(0.3 * (expected.shape[0] - 19)), int(0.8 * (expected.shape[1] - 29))
    rectangle = expected[row : row + 20, column : column + 30]
    np.testing.assert_array_equal(decoded(data, (0.3, 0.8)), rectangle)


@pytest.mark.parametrize("kind", ["PNG", "GIF", "BMP", "TIFF", "WEBP"])
def test_every_format_is_cropped(kind):
    data = encoded(picture(), kind, **({"lossless": True} if kind == "WEBP" else {}))
    with Image.open(io.BytesIO(data)) as image:
        expected = np.array(image.convert("RGB"))
    np.testing.assert_array_equal(decoded(data, (0.5, 0.0)), expected[35:55, :30])
    np.testing.assert_array_equal(decoded(data, None), expected[35:55, 50:80])


@pytest.mark.parametrize("orientation", [1, 6])
@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
@pytest.mark.parametrize("shorter_side", [40, 90, 200])
def test_a_scaled_crop_is_that_of_the_image_that_pillow_scales(kind, shorter_side, orientation):
    """Up and down; Pillow's filter is the same triangle."""
    data = encoded(picture(), kind, orientation)
    upright = Image.fromarray(whole(data))
    factor = shorter_side / min(upright.size)
    size = tuple(round(side * factor) for side in upright.size)
    scaled = np.array(upright.resize(size, Image.Resampling.BILINEAR), int)
    row, column = (int(draw * (side - 20 + 1)) for draw, side in zip((0.7, 0.4), scaled.shape))
    found = decoded(data, (0.7, 0.4), size=20, shorter_side=shorter_side)
    assert np.abs(found - scaled[row : row + 20, column : column + 20]).max() <= 1


@pytest.mark.parametrize("shorter_side", [10, 20, 40])
def test_a_jpeg_decoded_at_a_part_of_its_size_looks_like_the_whole(shorter_side):
    """A half, a quarter and an eighth of 320 pixels; smooth, so that there is little to lose."""
    data = encoded(picture(320, 480), "JPEG", quality=95)
    scaled = Image.fromarray(whole(data)).resize(
        (shorter_side * 3 // 2, shorter_side), Image.Resampling.BILINEAR
    )
    found = decoded(data, (0.0, 0.0), size=8, shorter_side=shorter_side)
    assert np.abs(found - np.array(scaled, int)[:8, :8]).max() <= 6


def test_the_shorter_side_has_the_length_that_was_asked_for():
    """Rows that count in steps of 16, of an image of 16 x 48: scaled to 8 x 24, the last column is 23."""
    image = np.broadcast_to(np.arange(0, 240, 5, dtype=np.uint8)[None, :, None], (16, 48, 3))
    found = decoded(encoded(np.ascontiguousarray(image)), (0.0, 0.9999), size=8, shorter_side=8)
    assert found[0, -1, 0] >= 230


def test_grey_crops_are_grey():
    data = encoded(picture(), "JPEG")
    expected = whole(data)[35:55, 50:80] @ [0.2989, 0.587, 0.114]
    found = decoded(data, None, channels=1)
    assert found.shape == (20, 30, 1)
    assert np.abs(found[..., 0] - expected).max() < 1


def test_the_graph_and_python_decode_the_same():
    decoder = CropDecoder(3, 40, RandomCrop((20, 30)))
    compiled = tf.function(lambda data, turn, draws: decoder.decode(data, turn, draws), autograph=False)
    for kind in ("JPEG", "PNG"):
        data = encoded(picture(), kind, 8)
        result = compiled(*map(tf.constant, prepared(data)), tf.constant([0.2, 0.6], tf.float64))
        np.testing.assert_array_equal(result, decoder.decode_named(data, "the file", np.array([0.2, 0.6])))


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_an_image_smaller_than_the_crop_is_named(kind):
    with pytest.raises(DataError, match=r"the file is 90x131 pixels, smaller than `RandomCrop.size`, 91x20"):
        decoded(encoded(picture(), kind), None, size=(91, 20))


def test_bytes_that_are_not_an_image_are_named():
    with pytest.raises(DataError, match=r"the file cannot be decoded as an image with 3 channels"):
        decoded(b"\xff\xd8\xff\xe0 nothing", None)


def test_a_jpeg_has_no_alpha():
    with pytest.raises(DataError, match=r"the file cannot be decoded as an image with 4 channels"):
        decoded(encoded(picture(), "JPEG"), None, channels=4)
