"""Batches: what is streamed, what evaluation counts, and how pixels become floats."""

import os
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from tests.fixtures import tiny_runs
from tests.fixtures.commands import REPOSITORY
from vaeflow.datasets import InMemorySplit, RenderedSprites, order, pipeline, stored_batches
from vaeflow.datasets.order import ExampleOrder


@pytest.fixture(scope="module")
def strategy():
    return tf.distribute.MirroredStrategy(["CPU:0"])


@pytest.mark.slow
@pytest.mark.parametrize(("num_examples", "batch_size"), [(37, 8), (5, 16)])
@pytest.mark.parametrize("first_step", [0, 1, 63, 64, 1000])
def test_streamed_batches_follow_the_order(strategy, num_examples, batch_size, first_step):
    split = InMemorySplit(tiny_runs.images(num_examples))
    order = ExampleOrder(num_examples, batch_size, seed=4)
    batches = pipeline.training_batches(split, order, strategy, first_step)
    expected = ExampleOrder(num_examples, batch_size, seed=4)
    # Beyond 64 batches, where the indices cross from Python once more.
    for step in range(first_step, first_step + 70):
        np.testing.assert_array_equal(next(batches)["images"], split.array[expected.batch(step)])


@pytest.mark.slow
@pytest.mark.parametrize("first_step", [0, 3, 100])
def test_streamed_batches_follow_an_order_that_a_thread_finds(strategy, first_step, monkeypatch):
    split = InMemorySplit(tiny_runs.images(37))
    expected = [ExampleOrder(37, 8, seed=4).batch(step) for step in range(first_step, first_step + 70)]
    monkeypatch.setattr(order, "_WORTH_A_THREAD", 1)
    batches = pipeline.training_batches(split, ExampleOrder(37, 8, seed=4), strategy, first_step)
    for indices in expected:
        np.testing.assert_array_equal(next(batches)["images"], split.array[indices])


@pytest.mark.slow
def test_streamed_batches_of_a_source_that_draws(strategy):
    split = RenderedSprites(image_size=16).load("train")
    order = ExampleOrder(split.num_examples, 6, seed=0)
    batch = next(pipeline.training_batches(split, order, strategy, 12))["images"]
    assert batch.dtype == tf.uint8
    assert batch.shape == (6, 16, 16, 1)
    np.testing.assert_array_equal(batch, split.examples(tf.constant(order.batch(12))))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("num_examples", "batch_size", "num_batches"), [(11, 4, 3), (12, 4, 3), (3, 8, 1), (9, 1, 9)]
)
def test_evaluation_counts_each_example_once(strategy, num_examples, batch_size, num_batches):
    split = InMemorySplit(tiny_runs.images(num_examples))
    batches = pipeline.evaluation_batches(split, batch_size, strategy)
    for _ in range(2):  # A second evaluation reads the same again.
        stored, weights = zip(*batches, strict=True)
        images, weights = np.concatenate([batch["images"] for batch in stored]), np.concatenate(weights)
        assert len(images) == len(weights) == num_batches * batch_size
        np.testing.assert_array_equal(weights, np.arange(len(weights)) < num_examples)
        np.testing.assert_array_equal(images[:num_examples], split.array)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_to_floats_scales_bytes_only(dtype):
    stored = np.arange(256, dtype=np.uint8).reshape(4, 8, 8, 1)
    floats = InMemorySplit(stored).to_floats(tf.constant(stored), dtype)
    assert floats.dtype == dtype
    np.testing.assert_allclose(floats, stored / 255.0, rtol=1e-6)
    scaled = np.linspace(0, 1, 256, dtype=np.float32).reshape(4, 8, 8, 1)
    kept = InMemorySplit(scaled).to_floats(tf.constant(scaled), dtype)
    assert kept.dtype == dtype
    np.testing.assert_array_equal(kept, scaled)


def binarize(images, step, first_position=0, seed=0):
    split = InMemorySplit(images, binarization="dynamic")
    stored = {"images": tf.constant(images)}
    with pipeline.keyed_batch(split, stored, "float32", seed, "train", step, first_position) as batch:
        return batch["images"].numpy()


def test_dynamic_binarization_is_keyed_by_seed_step_and_position():
    images = np.full((6, 8, 8, 1), 128, np.uint8)
    whole = binarize(images, step=7)
    assert set(np.unique(whole)) == {0.0, 1.0}
    np.testing.assert_array_equal(whole, binarize(images, step=7))
    parts = [binarize(images[:2], 7), binarize(images[2:5], 7, 2), binarize(images[5:], 7, 5)]
    np.testing.assert_array_equal(whole, np.concatenate(parts))
    for other in (binarize(images, step=8), binarize(images, step=7, seed=1), whole[::-1]):
        # Independent coins agree half of the time; 384 of them give a deviation of 0.026.
        assert abs(np.mean(whole == other) - 0.5) < 0.11


def test_dynamic_binarization_keeps_the_mean_of_each_pixel():
    pixels = np.array([0, 1, 26, 64, 128, 200, 254, 255], np.uint8)
    images = np.broadcast_to(pixels[:, None, None], (4000, 8, 4, 1))
    drawn = np.mean(binarize(images, step=0), axis=(0, 2, 3))
    np.testing.assert_allclose(drawn, pixels / 255, atol=0.02)  # 16,000 draws: a deviation of 0.004.
    assert drawn[0] == 0.0
    assert drawn[-1] == 1.0
    # A step draws anew.
    assert np.any(binarize(images, 0) != binarize(images, 1))


def test_static_binarization_is_the_same_in_every_batch(strategy):
    dataset = tiny_runs.dataset(num_train=10, binarization="static")
    one, other = (pipeline.read_split(dataset, "train").array for _ in range(2))
    np.testing.assert_array_equal(one, other)
    assert set(np.unique(one)) == {0, 255}
    untouched = pipeline.read_split(tiny_runs.dataset(num_train=10), "train").array
    np.testing.assert_array_equal(untouched, tiny_runs.images(10))


def test_data_on_the_devices_is_the_array(strategy):
    array = tiny_runs.images(5)
    placed = stored_batches.place_on_devices(InMemorySplit(array), strategy)
    np.testing.assert_array_equal(placed["images"], array)


# As a Trainer is, the iterator is part of a cycle of references. Examples are always being read.
ENDS_WHILE_IT_READS = """
import time
import tensorflow as tf
from tests.fixtures import tiny_runs
from vaeflow.datasets import InMemorySplit, pipeline
from vaeflow.datasets.order import ExampleOrder

class Slow(InMemorySplit):
    def examples(self, indices):
        def read(indices):
            time.sleep(0.3)
            return indices
        found = tf.numpy_function(read, [indices], tf.int64)
        return super().examples(tf.ensure_shape(found, indices.shape))

def main():
    split, order = Slow(tiny_runs.images(40)), ExampleOrder(40, 8, seed=4)
    cycle = [pipeline.training_batches(split, order, tf.distribute.get_strategy(), 0)]
    cycle.append(cycle)
    print(len(next(cycle[0])["images"]))

main()
"""


@pytest.mark.slow
@pytest.mark.processes
def test_a_program_ends_while_examples_are_read():
    """Python would destroy the iterator when no thread may go on, and wait for one that reads."""
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    command = [sys.executable, "-c", ENDS_WHILE_IT_READS]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    assert (ended.returncode, ended.stdout) == (0, "8\n"), ended.stderr
