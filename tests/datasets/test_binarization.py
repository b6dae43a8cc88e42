"""Static binarization: probabilities, and noise that depends only on its place."""

import numpy as np
import pytest
import tensorflow as tf

from vaeflow.datasets import InMemorySplit, RenderedSprites, Split, binarization
from vaeflow.datasets.binarization import binarize_split


class Streamed(Split):
    """The images of an array, as a split that is not in memory."""

    factor_names = ("place",)

    def __init__(self, images):
        super().__init__(len(images), images.shape[1:], images.dtype.name)
        self.images = images

    def examples(self, indices):
        return tf.gather(self.images, indices)

    def factors(self, indices):
        return np.asarray(indices, np.int64)[:, None]


GRAY = np.random.RandomState(0).randint(0, 256, (23, 5, 7, 3)).astype(np.uint8)


def read_at(split, indices):
    return split.examples(tf.constant(indices, tf.int64)).numpy()


@pytest.mark.parametrize("images", [GRAY, (GRAY / 255).astype(np.float32)], ids=["uint8", "float32"])
def test_memory_and_streams_give_the_same_pixels(images, monkeypatch):
    whole = binarize_split(InMemorySplit(images), "train")
    assert whole.dtype == "uint8"
    assert set(np.unique(whole.array)) == {0, 255}
    monkeypatch.setattr(binarization, "_CHUNK_PIXELS", 4 * 105)
    np.testing.assert_array_equal(binarize_split(InMemorySplit(images), "train").array, whole.array)
    streamed = binarize_split(Streamed(images), "train")
    assert streamed.array is None
    assert streamed.dtype == "uint8"
    shuffled = np.random.RandomState(1).permutation(23)
    np.testing.assert_array_equal(read_at(streamed, shuffled), whole.array[shuffled])
    for index in (0, 22):
        np.testing.assert_array_equal(read_at(streamed, [index])[0], whole.array[index])
    assert read_at(streamed, []).shape == (0, 5, 7, 3)
    batches = tf.data.Dataset.range(23).batch(4).map(streamed.examples)
    np.testing.assert_array_equal(np.concatenate(list(batches.as_numpy_iterator())), whole.array)


def test_each_pixel_is_white_as_often_as_it_is_bright():
    levels = np.array([0, 1, 64, 128, 254, 255], np.uint8)
    images = np.broadcast_to(levels[None, None, :, None], (4000, 50, 6, 1))
    binary = binarize_split(InMemorySplit(images), "train").array
    share = (binary / 255).mean((0, 1, 3))
    p = levels / 255
    deviation = np.sqrt(p * (1 - p) / 200_000)
    assert np.all(abs(share - p) <= 4 * deviation)
    assert share[0] == 0
    assert share[-1] == 1


def test_noise_differs_between_pixels_examples_and_splits():
    images = np.full((300, 8, 8, 1), 128, np.uint8)
    train = binarize_split(InMemorySplit(images), "train").array.reshape(300, 64) / 255 - 0.5
    evaluation = binarize_split(InMemorySplit(images), "evaluation").array.reshape(300, 64) / 255 - 0.5
    limit = 4 * 0.25 / np.sqrt(300 * 64)
    assert abs((train * evaluation).mean()) < limit
    assert abs((train * np.roll(train, 1, axis=0)).mean()) < limit
    assert abs((train * np.roll(train, 1, axis=1)).mean()) < limit


def test_noise_is_pinned():
    # Philox 4x64-10 with key (0x5EED, 0), counter 1: these words must never change.
    images = np.full((1, 4, 4, 1), 128, np.uint8)
    words = np.random.Philox(key=np.array([0x5EED, 0], np.uint64)).random_raw(8)
    halves = np.stack([words & 0xFFFFFFFF, words >> np.uint64(32)], axis=1).reshape(4, 4)
    expected = np.where(halves / 2.0**32 < 128 / 255, 255, 0)
    binary = binarize_split(InMemorySplit(images), "train").array
    np.testing.assert_array_equal(binary[0, ..., 0], expected)


def test_factors_are_kept():
    images = GRAY
    streamed = binarize_split(Streamed(images), "evaluation")
    assert streamed.factor_names == ("place",)
    assert streamed.factors(np.array([3, 1])).tolist() == [[3], [1]]
    factors = np.arange(23)[:, None]
    whole = binarize_split(InMemorySplit(images, factors, ("place",)), "evaluation")
    assert whole.factor_names == ("place",)
    assert whole.factors(np.array([3, 1])).tolist() == [[3], [1]]
    with pytest.raises(ValueError, match="`split` must be one of"):
        binarize_split(streamed, "test")


def test_binary_images_stay_as_they_are():
    split = RenderedSprites(binarization="static").load("evaluation")
    indices = np.arange(0, 10_000, 500)
    np.testing.assert_array_equal(
        read_at(binarize_split(split, "evaluation"), indices), read_at(split, indices)
    )
