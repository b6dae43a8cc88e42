"""Each image is decoded once, in whatever batches it is read, and comes back unchanged."""

import shutil

import numpy as np
import pytest
import tensorflow as tf

from vaeflow.datasets import cache
from vaeflow.datasets.cache import CachedSplit
from vaeflow.datasets.in_memory import InMemorySplit

NUM_EXAMPLES = 6


class CountingSplit(InMemorySplit):
    """A split of distinct images that notes the indices it was read at."""

    def __init__(self):
        generator = np.random.default_rng(0)
        array = generator.integers(0, 256, (NUM_EXAMPLES, 3, 2, 1)).astype(np.uint8)
        super().__init__(array, np.arange(NUM_EXAMPLES)[:, None], ("label",))
        self.decoded = []
        self.labelled = []

    def factors(self, indices):
        self.labelled += indices.tolist()
        return super().factors(indices)

    def examples(self, indices):
        def note(chosen):
            self.decoded += chosen.tolist()
            return self.array[chosen]

        return tf.numpy_function(note, [indices], self.dtype)


def read_at(split, *indices):
    return split.examples(tf.constant(indices, tf.int64)).numpy()


def test_each_is_decoded_once():
    source = CountingSplit()
    split = CachedSplit(source)
    for indices in ((0, 3), (3, 1, 0), (4, 4, 5), (0, 1, 3, 4, 5)):
        np.testing.assert_array_equal(read_at(split, *indices), source.array[list(indices)])
    assert sorted(set(source.decoded)) == [0, 1, 3, 4, 5]
    assert len(source.decoded) == 6  # 4 twice, in one batch.
    assert (split.num_examples, split.shape, split.dtype) == (NUM_EXAMPLES, (3, 2, 1), "uint8")
    assert split.factor_names == ("label",)
    assert split.factors(np.array([2])).tolist() == [[2]]


def test_each_label_is_read_once():
    source = CountingSplit()
    split = CachedSplit(source)
    for indices in ([0, 3], [3, 1, 0], [4, 4, 5]):
        assert split.labels(tf.constant(indices, tf.int64)).numpy().tolist() == [[each] for each in indices]
    assert split.factors(np.array([5, 2])).tolist() == [[5], [2]]
    assert sorted(set(source.labelled)) == list(range(NUM_EXAMPLES))
    assert len(source.labelled) == NUM_EXAMPLES + 1  # 4 twice, in one batch.


@pytest.mark.slow
def test_in_a_pipeline_of_several_threads():
    source = CountingSplit()
    split = CachedSplit(source)
    indices = np.random.default_rng(0).integers(0, NUM_EXAMPLES, (50, 4))
    batches = tf.data.Dataset.from_tensor_slices(indices).map(split.examples, 4)
    for chosen, images in zip(indices, batches, strict=True):
        np.testing.assert_array_equal(images, source.array[chosen])


def test_only_what_fits_is_kept(monkeypatch):
    free = shutil.disk_usage("/")._replace(free=2 * 2 * 6)  # Half of it holds two images of six bytes.
    monkeypatch.setattr(cache.shutil, "disk_usage", lambda folder: free)
    source = CountingSplit()
    split = CachedSplit(source)
    for _ in range(2):
        np.testing.assert_array_equal(read_at(split, 0, 1, 2, 3), source.array[:4])
    assert source.decoded == [0, 1, 2, 3, 2, 3]


def test_a_full_disk_costs_the_speed_only(monkeypatch):
    def refuse(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(cache.os, "pwrite", refuse)
    source = CountingSplit()
    split = CachedSplit(source)
    for _ in range(2):
        np.testing.assert_array_equal(read_at(split, 1, 2), source.array[1:3])
    assert source.decoded == [1, 2, 1, 2]
