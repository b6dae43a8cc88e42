"""The order of examples: a permutation per epoch, a pure function of seed and step."""

import hashlib
import itertools
import os
import signal
import threading
import tracemalloc

import numpy as np
import pytest

from vaeflow.datasets import order as order_module
from vaeflow.datasets.order import ExampleOrder, stable_argsort


@pytest.fixture
def threads_for_all(monkeypatch):
    """Lets a thread find the next permutation of few examples too."""
    monkeypatch.setattr(order_module, "_WORTH_A_THREAD", 1)


def threads_of_orders():
    return [thread for thread in threading.enumerate() if thread.name == "order"]


def first_positions(order, count):
    batches = -(-count // order.batch_size)
    return np.concatenate([order.batch(step) for step in range(batches)])[:count]


@pytest.mark.parametrize(("num_examples", "batch_size"), [(12, 4), (10, 4), (7, 5), (3, 8), (1, 6), (5, 5)])
def test_each_epoch_is_a_permutation(num_examples, batch_size):
    epochs = first_positions(ExampleOrder(num_examples, batch_size, seed=3), 6 * num_examples)
    for epoch in epochs.reshape(6, num_examples):
        assert sorted(epoch) == list(range(num_examples))


@pytest.mark.parametrize(("num_examples", "batch_size"), [(10, 4), (3, 8), (1, 6)])
def test_batches_are_full_and_straddle_epochs(num_examples, batch_size):
    order = ExampleOrder(num_examples, batch_size, seed=0)
    for step in range(10):
        batch = order.batch(step)
        assert batch.shape == (batch_size,)
        assert batch.dtype == np.int64


def test_the_batch_size_does_not_change_the_sequence():
    sequences = [first_positions(ExampleOrder(17, size, seed=5), 60) for size in (1, 4, 17, 40)]
    for sequence in sequences[1:]:
        np.testing.assert_array_equal(sequence, sequences[0])


def test_a_batch_does_not_depend_on_what_was_asked_before():
    for num_examples, batch_size in [(10, 4), (3, 8), (50, 7)]:
        expected = [ExampleOrder(num_examples, batch_size, seed=1).batch(step) for step in range(30)]
        order = ExampleOrder(num_examples, batch_size, seed=1)
        steps = np.random.RandomState(0).randint(0, 30, 200)
        for step in [29, 0, 0, *steps]:
            np.testing.assert_array_equal(order.batch(step), expected[step])


def test_epochs_and_seeds_differ_and_are_uncorrelated():
    # For independent permutations of 10,000 the correlation has a deviation of 0.01.
    permutations = {
        (seed, epoch): ExampleOrder(10_000, 10_000, seed).batch(epoch)
        for seed, epoch in itertools.product((0, 1, 2, 1000), (0, 1, 2, 1000))
    }
    for one, other in itertools.combinations(permutations, 2):
        correlation = np.corrcoef(permutations[one], permutations[other])[0, 1]
        assert abs(correlation) < 0.05, (one, other)


def test_the_first_place_of_an_epoch_is_uniform():
    order = ExampleOrder(8, 8, seed=0)
    counts = np.bincount([order.batch(epoch)[0] for epoch in range(1600)], minlength=8)
    # 200 each, with a deviation of 13.
    assert counts.min() > 130
    assert counts.max() < 270


@pytest.mark.usefixtures("threads_for_all")
def test_memory_holds_two_permutations_at_most():
    num_examples, order = 100_000, ExampleOrder(100_000, 5_000, seed=0)
    order.batch(0)
    tracemalloc.start()
    try:
        for step in range(100):
            order.batch(step)
        for thread in threads_of_orders():
            thread.join()
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held < 2.2 * num_examples * np.dtype(np.int64).itemsize


@pytest.mark.usefixtures("threads_for_all")
@pytest.mark.parametrize(("num_examples", "batch_size"), [(12, 4), (10, 4), (7, 5), (3, 8), (1, 6), (5, 5)])
@pytest.mark.parametrize("first_step", [0, 1, 2, 17])
def test_a_thread_finds_the_same_order_from_any_step_on(num_examples, batch_size, first_step, monkeypatch):
    order = ExampleOrder(num_examples, batch_size, seed=1)
    order.prepare(first_step)
    found = [order.batch(step) for step in range(first_step, first_step + 20)]
    monkeypatch.undo()
    expected = ExampleOrder(num_examples, batch_size, seed=1)
    for step, batch in enumerate(found, first_step):
        np.testing.assert_array_equal(batch, expected.batch(step))


@pytest.mark.usefixtures("threads_for_all")
def test_steps_in_any_order_find_the_same_with_threads(monkeypatch):
    order, steps = ExampleOrder(50, 7, seed=1), np.random.RandomState(0).randint(0, 30, 200)
    found = [order.batch(step) for step in steps]
    monkeypatch.undo()
    for step, batch in zip(steps, found, strict=True):
        np.testing.assert_array_equal(batch, ExampleOrder(50, 7, seed=1).batch(step))


@pytest.mark.usefixtures("threads_for_all")
def test_the_next_permutation_is_looked_for_once_and_not_before_the_middle(monkeypatch):
    order, sought = ExampleOrder(12, 2, seed=0), []
    find = ExampleOrder._find

    def noted(self, epoch):
        sought.append((epoch, threading.current_thread().name))
        return find(self, epoch)

    monkeypatch.setattr(ExampleOrder, "_find", noted)
    for step in range(3):
        order.batch(step)
    assert sought == [(0, threading.current_thread().name)]
    for step in range(3, 9):
        order.batch(step)
    assert sought[1:] == [(1, "order")]


def test_few_examples_need_no_thread(monkeypatch):
    monkeypatch.setattr(order_module, "_Search", lambda *_: pytest.fail("a thread began"))
    order = ExampleOrder(1000, 100, seed=0)
    order.prepare(0)
    for step in range(30):
        order.batch(step)


@pytest.mark.usefixtures("threads_for_all")
def test_no_thread_is_left():
    order = ExampleOrder(5_000, 100, seed=0)
    for step in range(40):
        order.batch(step)
    for thread in threads_of_orders():
        thread.join(timeout=60)
        assert not thread.is_alive()


@pytest.mark.usefixtures("threads_for_all")
def test_a_thread_that_fails_leaves_it_to_the_caller(monkeypatch):
    expected = ExampleOrder(10, 5, seed=0).batch(2)
    find = ExampleOrder._find

    def without_memory(self, epoch):
        if threading.current_thread().name == "order":
            raise MemoryError
        return find(self, epoch)

    monkeypatch.setattr(ExampleOrder, "_find", without_memory)
    order = ExampleOrder(10, 5, seed=0)
    np.testing.assert_array_equal([order.batch(step) for step in range(3)][2], expected)


@pytest.mark.usefixtures("threads_for_all")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_process_finds_the_order_itself(monkeypatch):
    """The thread of the parent is not in it, and will never end there."""
    expected = ExampleOrder(10, 5, seed=0).batch(2)
    may_end, find = threading.Event(), ExampleOrder._find

    def slow(self, epoch):
        if threading.current_thread().name == "order":
            may_end.wait()
        return find(self, epoch)

    monkeypatch.setattr(ExampleOrder, "_find", slow)
    order = ExampleOrder(10, 5, seed=0)
    order.batch(1)
    assert threads_of_orders()
    child = os.fork()
    if not child:
        signal.alarm(60)
        try:
            os._exit(0 if np.array_equal(order.batch(2), expected) else 1)
        finally:
            os._exit(2)
    assert os.waitpid(child, 0)[1] == 0
    may_end.set()
    np.testing.assert_array_equal(order.batch(2), expected)


@pytest.mark.parametrize("values", [2, 100, 2**20, 2**64])
@pytest.mark.parametrize("count", [1, 2, 3, 64, 65, 20_000])
def test_words_are_sorted_as_numpy_does(count, values):
    """Few values agree in the upper bits, and many altogether."""
    drawn = np.random.RandomState(count).randint(0, values, count, dtype=np.uint64)
    for words in (drawn, drawn << np.uint64(44), np.uint64(2**64 - 1) - drawn):
        np.testing.assert_array_equal(stable_argsort(words), np.argsort(words, kind="stable"))


# Whoever has to change these breaks the resumption of every run, and says so.
GOLDEN = [
    ((10, 4, 0), 0, [0, 2, 9, 1]),
    ((10, 4, 0), 2, [6, 7, 5, 3]),
    ((10, 4, 0), 5, [6, 7, 2, 9]),
    ((7, 3, 12345), 1000, [4, 3, 0]),
    ((60000, 8, 3), 100_000, [47589, 59286, 54008, 16245, 42541, 16804, 22615, 51207]),
    ((737280, 8, 3), 5, [462010, 453317, 530731, 325205, 156472, 725032, 363060, 186591]),
    ((10, 4, 2**32 - 1), 0, [4, 6, 7, 8]),
]


@pytest.mark.parametrize(("settings", "step", "expected"), GOLDEN)
def test_golden_values(settings, step, expected):
    assert ExampleOrder(*settings).batch(step).tolist() == expected


# Of whole epochs, the first 16 digits of SHA-256 of little-endian int64.
DIGESTS = {
    (1000, 0): ("43b0116ea6ec8706", "821b8c23acd515c6", "ce22047ab5431532", "f8fea9ff84d086e7"),
    (1000, 2**32 - 1): ("169c4ed1c2646ccc", "1feaa6beddfcf991", "35cef0f3d9565233", "433739772400ee82"),
    (60_000, 3): ("17817e6b3696b216", "25e0732e6cdc1811", "9cdb58733d8f97e6", "db8431e47539fc68"),
    (737_280, 0): ("0454f7cdb4e1e089", "97be4917e2172d26", "6ff04bdbee9413fb", "867eb1c3b501942b"),
    (1_000_000, 1): ("9bc61c4653377e9d", "5cdb0c86ac0a8986", "a01e63747225e643", "ca6513e4c6965464"),
    (1_500_000, 12345): ("98848c3af561b9b9", "3ea15323715e8dac", "24882d5e0247de9f", "9ef051683e0679b4"),
}


@pytest.mark.parametrize(("settings", "digests"), DIGESTS.items())
def test_the_order_of_whole_epochs(settings, digests):
    """Those of many examples are found by a thread, but for the first."""
    (num_examples, seed), epochs = settings, (0, 1, 2, 1000)
    order = ExampleOrder(num_examples, num_examples, seed)
    for epoch, digest in zip(epochs, digests, strict=True):
        indices = order.batch(epoch).astype("<i8")
        assert hashlib.sha256(indices.tobytes()).hexdigest()[:16] == digest, epoch
