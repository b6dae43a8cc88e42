"""What an array of images is: its layout and its range, and the settings that say so."""

import numpy as np
import pytest

from vaeflow.datasets import Arrays, InMemorySplit
from vaeflow.datasets.pixels import Description
from vaeflow.errors import ConfigurationError, DataError

NOISE = np.random.RandomState(0)


def noise(*shape, white=255):
    """Integers from 0 to `white`, both of which occur."""
    values = NOISE.randint(0, white + 1, shape).astype(np.uint8)
    values.flat[:2] = 0, white
    return values


@pytest.fixture
def load(tmp_path):
    """Loads an array as the training split of `Arrays`."""

    def load_array(array, **settings):
        np.save(tmp_path / "a.npy", array)
        return Arrays(str(tmp_path / "a.npy"), **settings).load("train")

    return load_array


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((20, 3, 32, 32), r"looks like \[N, C, H, W\]; set `\w+.layout` to \"NCHW\""),
        ((20, 1, 28, 28), r"looks like \[N, C, H, W\]"),
        ((32, 32, 3, 20), r"looks like \[H, W, C, N\]; transpose it"),
    ],
)
def test_channels_at_another_place_are_refused(load, shape, message):
    for make in (load, InMemorySplit):
        with pytest.raises(DataError, match=message):
            make(noise(*shape))


def test_a_layout_moves_the_channels(load):
    array = noise(20, 3, 5, 7)
    split = load(array, layout="NCHW", evaluation_fraction=0.05)
    assert split.shape == (5, 7, 3)
    assert InMemorySplit(array, layout="NCHW").shape == (5, 7, 3)
    np.testing.assert_array_equal(InMemorySplit(array, layout="NCHW").array[2, :, :, 1], array[2, 1])


def test_a_layout_that_is_said_is_believed(load):
    assert load(noise(20, 3, 8, 16), layout="NHWC").shape == (3, 8, 16)
    with pytest.raises(DataError, match=r"is not `Arrays.layout` = 'NCHW'"):
        load(noise(20, 8, 8), layout="NCHW")


@pytest.mark.parametrize("shape", [(20, 8, 8, 16), (20, 8, 3)])
def test_a_strange_shape_is_logged(load, warnings, shape):
    load(noise(*shape))
    assert f"a.npy holds an array of shape {shape}, taken for" in warnings()[0]


@pytest.mark.parametrize(
    ("array", "proposal"),
    [
        (noise(20, 5, 5, white=1), r"\(0, 1\)"),
        (noise(20, 5, 5, white=16), r"\(0, 16\)"),
        (noise(20, 5, 5, white=60), r"\(0, 63\)"),
        (noise(20, 5, 5) / 255.0**2, r"\(0, 1\)"),
        (noise(20, 5, 5).astype(np.float32), r"\(0, 255\)"),
        (noise(20, 5, 5, white=16).astype(np.float64), r"\(0, 16\)"),
        (noise(20, 5, 5) / 127.5 - 1, r"\(-1, 1\)"),
        (noise(20, 5, 5) / 255 - 0.5, r"\(-0.5, 0.5\)"),
        (noise(20, 5, 5) / 51 - 2, r"\(-2.0, 3.0\)"),
    ],
)
def test_another_range_is_refused_and_proposed(load, array, proposal):
    with pytest.raises(DataError, match=rf"set `Arrays.pixel_range` = {proposal}"):
        load(array)
    with pytest.raises(DataError, match=rf"set `InMemorySplit.pixel_range` = {proposal}"):
        InMemorySplit(array[..., None].astype("uint8" if array.dtype == np.uint8 else "float32"))


@pytest.mark.parametrize(
    ("array", "pixel_range"),
    [
        (noise(20, 5, 5, white=16), (0, 16)),
        (noise(20, 5, 5).astype(np.int64), (0, 255)),
        (noise(20, 5, 5) / 127.5 - 1, (-1, 1)),
        (noise(20, 5, 5) > 127, (0, 1)),
    ],
)
def test_a_range_scales_the_pixels(load, array, pixel_range):
    split = load(array, pixel_range=pixel_range)
    assert split.dtype == "float32"
    assert (split.array.min(), split.array.max()) == (0, 1)
    low, high = pixel_range
    expected = (array.astype(np.float64) - low) / (high - low)
    np.testing.assert_array_equal(
        InMemorySplit(array[..., None], pixel_range=pixel_range).array[..., 0], expected.astype(np.float32)
    )


def test_dark_images_pass_when_their_range_is_said(load):
    array = noise(20, 5, 5, white=30)
    split = InMemorySplit(array[..., None], pixel_range=(0, 255))
    np.testing.assert_array_equal(split.array[..., 0], array)
    assert load(array, pixel_range=(0, 255)).dtype == "uint8"


def test_an_oddly_dark_array_is_logged(load, warnings):
    load(noise(20, 5, 5, white=100))
    assert "holds uint8 pixels of at most 100 and at least 0, where white is 255" in warnings()[0]


def test_a_pixel_outside_the_range_is_named(load):
    array = noise(20, 5, 5, white=16)
    array[7, 1, 2] = 17
    with pytest.raises(DataError, match=r"record 7: a pixel is 17; expected a finite number in \[0, 16\]"):
        load(array, pixel_range=(0, 16))


def test_usual_arrays_are_taken_without_a_word(load, warnings):
    for array in (noise(20, 5, 5), noise(20, 32, 32, 3), noise(20, 5, 5) / 255, noise(20, 3, 3, 3)):
        load(array)
    assert warnings() == []


@pytest.mark.parametrize("pixel_range", [(1,), (1, 1), (2, 0), "01", (0, np.nan), 16])
def test_a_range_is_an_increasing_pair(pixel_range):
    with pytest.raises(ConfigurationError, match=r"`X.pixel_range` must be the numbers of black and white"):
        Description("X", pixel_range=pixel_range)


def test_a_layout_is_one_of_four():
    with pytest.raises(ValueError, match=r"`X.layout` must be one of 'NHW', 'NHWC', 'NCHW', 'NF'; got 'CHW'"):
        Description("X", layout="CHW")
