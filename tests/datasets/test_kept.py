"""Images that are kept once they were made come back unchanged, from wherever they are kept."""

import numpy as np
import pytest
import tensorflow as tf

from vaeflow.datasets import RenderedSprites
from vaeflow.datasets.in_memory import InMemorySplit
from vaeflow.datasets.kept import BitStore, KeptSplit

SHAPE = (3, 5, 1)  # 15 pixels fill no whole bytes.
IMAGES = (np.random.RandomState(0).randint(0, 2, (7, *SHAPE)) * 255).astype(np.uint8)


class CountingSplit(InMemorySplit):
    """A split that notes the indices it was read at."""

    def __init__(self):
        super().__init__(IMAGES)
        self.made = []

    def examples(self, indices):
        def note(chosen):
            self.made += chosen.tolist()
            return IMAGES[chosen]

        return tf.numpy_function(note, [indices], "uint8")


def kept(most_bytes):
    source = CountingSplit()
    return source, KeptSplit(source, BitStore(7, SHAPE, most_bytes))


def read_at(split, *indices):
    return split.examples(tf.constant(indices, tf.int64)).numpy()


def test_bits_are_pixels_of_0_and_255():
    store = BitStore(7, SHAPE, 1000)
    store.write(np.array([5, 0, 3]), IMAGES[[5, 0, 3]])
    assert store.knows(np.array([0, 1, 5])).tolist() == [True, False, True]
    np.testing.assert_array_equal(store.read(np.array([3, 5, 3])), IMAGES[[3, 5, 3]])


@pytest.mark.parametrize("most_bytes", [0, 1, 5, 14])
def test_what_has_no_room_is_made_again(most_bytes):
    """Two bytes hold an image."""
    source, split = kept(most_bytes)
    for indices in ((0, 6), (6, 0, 1), (2, 2, 5), (0, 1, 6, 5)):
        np.testing.assert_array_equal(read_at(split, *indices), IMAGES[list(indices)])
    capacity = min(7, most_bytes // 2)
    again = [index for index in source.made if source.made.count(index) > 1 and index != 2]
    assert all(index >= capacity for index in again)
    assert capacity < 7 or sorted(source.made) == [0, 1, 2, 2, 5, 6]  # 2 twice, in one batch.


def test_sprites_are_the_same_when_they_are_read_again():
    split = RenderedSprites(33).load("train")
    indices = np.random.RandomState(0).randint(split.num_examples, size=20)
    first = read_at(split, *indices)
    assert set(np.unique(first)) == {0, 255}
    np.testing.assert_array_equal(read_at(split, *indices[::-1]), first[::-1])
