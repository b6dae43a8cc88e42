"""Image bytes to arrays: formats, fitting and errors."""

import io

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from vaeflow.datasets.decoding import decode_image, decode_images
from vaeflow.errors import DataError


def encode(array, kind="PNG", **options):
    stream = io.BytesIO()
    Image.fromarray(array).save(stream, kind, **options)
    return stream.getvalue()


NOISE = np.random.RandomState(0).randint(0, 256, (11, 13, 3)).astype(np.uint8)


@pytest.mark.parametrize(("kind", "options"), [("PNG", {}), ("WEBP", {"lossless": True}), ("BMP", {})])
def test_lossless_formats_give_the_same_pixels(kind, options):
    data = encode(NOISE, kind, **options)
    np.testing.assert_array_equal(decode_image(data, "x", 3), NOISE)
    gray = decode_image(data, "x", 1)
    assert gray.shape == (11, 13, 1)
    assert gray.dtype == np.uint8
    weights = np.array([0.299, 0.587, 0.114])
    # PNG's own weights differ a little.
    assert abs(gray[..., 0] - NOISE @ weights).max() < 8


def test_gray_and_alpha():
    gray = NOISE[..., 0]
    np.testing.assert_array_equal(decode_image(encode(gray), "x", 1)[..., 0], gray)
    np.testing.assert_array_equal(decode_image(encode(gray), "x", 3), np.repeat(gray[..., None], 3, axis=2))
    with_alpha = np.concatenate([NOISE, NOISE[..., :1]], axis=2)
    np.testing.assert_array_equal(decode_image(encode(with_alpha), "x", 4), with_alpha)
    np.testing.assert_array_equal(decode_image(encode(with_alpha), "x", 3), NOISE)


@pytest.mark.parametrize("size", [(11, 5), (5, 13), (11, 13)])
def test_what_sticks_out_is_cut_evenly(size):
    top, left = (11 - size[0]) // 2, (13 - size[1]) // 2
    expected = NOISE[top : top + size[0], left : left + size[1]]
    np.testing.assert_array_equal(decode_image(encode(NOISE), "x", 3, size), expected)


def test_scaling_keeps_the_aspect_and_antialiases():
    # Fine noise becomes gray, where picking single pixels would keep it; a disc stays round.
    noise = np.random.RandomState(1).randint(0, 256, (120, 200)).astype(np.uint8)
    small = decode_image(encode(noise), "x", 1, (15, 15))
    assert abs(small.mean() - 127.5) < 5
    assert small.std() < 12
    y, x = np.mgrid[:120, :200]
    disc = (((x - 99.5) ** 2 + (y - 59.5) ** 2 < 40**2) * 255).astype(np.uint8)
    white = decode_image(encode(disc), "x", 1, (30, 30))[..., 0] > 127
    assert white.any(0).sum() == white.any(1).sum() == 20
    np.testing.assert_array_equal(white, white[::-1, ::-1])
    large = decode_image(encode(disc), "x", 1, (241, 241))
    assert large.shape == (241, 241, 1)
    assert large.max() == 255
    assert large.min() == 0


def test_errors_name_the_source_and_the_reason():
    with pytest.raises(
        DataError, match=r"file.png cannot be decoded as an image with 3 channels: Unknown image"
    ):
        decode_image(b"words", "file.png", 3)
    with pytest.raises(DataError, match=r"file.jpg .*4 channels: JPEG does not support 4 channels; replace"):
        decode_image(encode(NOISE, "JPEG"), "file.jpg", 4)
    for kind in ("PNG", "JPEG", "WEBP"):
        with pytest.raises(DataError, match="half"):
            decode_image(encode(NOISE, kind)[:-60], "half", 3, (4, 4))


def stream(items, **options):
    """Decodes inside `tf.data`, in batches of 3; gives the images and the sizes of the batches retried."""
    retries = []

    def decode(batch):
        def again(contents):
            retries.append(len(contents))
            return np.array([decode_image(data, "again", 3, (4, 4)) for data in contents])

        return decode_images(
            batch,
            (4, 4, 3),
            retry=lambda: tf.numpy_function(again, [batch], tf.uint8),
            **options,
        )

    batches = tf.data.Dataset.from_tensor_slices(items).batch(3).map(decode, tf.data.AUTOTUNE)
    return np.concatenate(list(batches.as_numpy_iterator())), retries


@pytest.mark.slow
def test_graphs_give_the_same_images_in_order():
    sizes = [(11, 13), (4, 4), (5, 9), (11, 3), (8, 8), (2, 3), (11, 12)]
    contents = [encode(NOISE[:height, :width], "PNG") for height, width in sizes]
    images, retries = stream(contents, fit=True)
    assert not retries
    np.testing.assert_array_equal(images, [decode_image(data, "x", 3, (4, 4)) for data in contents])


@pytest.mark.slow
def test_what_fails_in_a_graph_is_retried_where_errors_have_names():
    good, large, bad = encode(NOISE[:4, :4]), encode(NOISE), b"words"
    images, retries = stream([good, good, good, large], fit=False)
    assert retries == [1]
    np.testing.assert_array_equal(images[3], decode_image(large, "x", 3, (4, 4)))
    for items in ([good, bad], [bad]):
        with pytest.raises(tf.errors.UnknownError, match="DataError: again cannot be decoded"):
            stream(items, fit=True)


def test_batches_of_none_and_eager_calls():
    def never():
        raise AssertionError

    for items in ([], [encode(NOISE)]):
        images = decode_images(tf.constant(items, tf.string), (6, 5, 1), True, never)
        assert images.shape == (len(items), 6, 5, 1)
