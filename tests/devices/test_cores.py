"""The part of the examples that each core of a CPU computes."""

import numpy as np
import pytest
import tensorflow as tf

from tests.fixtures.commands import REPOSITORY, Command
from tests.fixtures.noted_calls import noting
from vaeflow import random
from vaeflow.devices import cores


@pytest.fixture
def machine(monkeypatch):
    """Returns a function that fakes the number of cores, GPUs and threads."""

    def make(num_cores, num_gpus=0, threads=1):
        monkeypatch.setattr(cores, "_num_cores", lambda: num_cores)
        monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: [kind] * num_gpus)
        monkeypatch.setattr(tf.config.threading, "get_intra_op_parallelism_threads", lambda: threads)

    return make


@pytest.mark.parametrize(
    ("num_cores", "num_examples", "num_replicas", "expected"),
    [
        (2, 128, 1, 2),
        (1, 128, 1, 1),
        (2, 64, 2, 1),  # A core each.
        (4, 64, 2, 2),
        (2, 32, 1, 2),
        (2, 31, 1, 1),  # Too few.
        (2, 33, 1, 1),  # Not to be halved.
        (8, 48, 1, 3),  # Parts of 16.
        (8, 72, 1, 4),  # 5 parts would not be equal.
        (1, 8, 4, 1),
    ],
)
def test_number_of_parts(machine, num_cores, num_examples, num_replicas, expected):
    machine(num_cores)
    assert cores.num_parts(num_examples, num_replicas) == expected


@pytest.mark.parametrize(
    ("num_examples", "kilobytes", "expected"),
    [
        (128, 24, 1),  # 3 MiB.
        (32, 128, 1),  # 4 MiB.
        (128, 128, 4),
        (96, 64, 2),  # 48 of 64 that would fit.
        (64, 512, 2),  # 32, though only 8 fit.
        (127, 512, 1),  # Not to be divided.
        (130, 128, 2),  # 65: the smallest part of 32 and more.
        (8, 512, 1),
        (128, 0, 1),  # Unknown.
    ],
)
def test_number_of_rounds(machine, num_examples, kilobytes, expected):
    machine(2)
    assert cores.num_rounds(num_examples, kilobytes << 10) == expected


def test_a_gpu_takes_all_examples_together(machine):
    machine(8, num_gpus=1)
    assert cores.num_parts(128, 1) == 1
    assert cores.num_rounds(128, 1 << 20) == 1
    assert cores.operations_at_a_time() == 1


@pytest.mark.parametrize(("threads", "expected"), [(0, 1), (1, 8), (2, 4), (16, 1)])
def test_operations_at_a_time(machine, threads, expected):
    machine(8, threads=threads)
    assert cores.operations_at_a_time() == expected


@pytest.mark.parametrize(
    ("num_examples", "count", "expected"),
    [(6, 1, [(0, 6)]), (6, 3, [(0, 2), (2, 4), (4, 6)]), (7, 2, [(0, 3), (3, 7)])],
)
def test_bounds(num_examples, count, expected):
    assert cores.bounds(num_examples, count) == expected


def noisy(calls):
    """A block that notes how many examples it is given, and adds two draws of noise."""

    def block(examples, factor):
        calls.append(examples.shape[0])
        shape = (examples.shape[0], 3)
        return factor * examples + random.normal(shape, "float64") - random.uniform(shape, "float64")

    return block


@pytest.mark.parametrize("size", [6, 7])
def test_blocks_in_parts_give_what_they_give_at_once(machine, size):
    machine(2)
    examples = tf.constant(np.random.default_rng(0).normal(size=(size, 3)))
    calls = []
    with random.keyed(1, "train", 5, first_position=4):
        expected = noisy(calls)(examples, factor=2.0)
        following = random.normal((size, 3), "float64")
    with random.keyed(1, "train", 5, first_position=4), cores.cutting_blocks(2):
        found = cores.in_parts(noisy(calls), examples, factor=2.0)
        assert calls == [size, size // 2, size - size // 2]
        # The draws after it are those that follow.
        np.testing.assert_array_equal(random.normal((size, 3), "float64"), following)
    np.testing.assert_allclose(found, expected, rtol=1e-14)


@pytest.mark.parametrize("threads", [0, 2])
def test_blocks_stay_whole_where_an_operation_takes_all_cores(machine, threads):
    machine(2, threads=threads)
    calls = []
    with random.keyed(1, "train", 5), cores.cutting_blocks(2):
        cores.in_parts(noisy(calls), tf.zeros((6, 3), tf.float64), factor=2.0)
    assert calls == [6]


def test_blocks_stay_whole_outside_and_with_batches_of_open_size(machine):
    machine(2)
    block = noting(tf.identity, sizes := [], lambda part: part.shape[0])
    with cores.cutting_blocks(2):
        function = tf.function(lambda examples: cores.in_parts(block, examples))
        function.get_concrete_function(tf.TensorSpec((None, 3)))
    cores.in_parts(block, tf.zeros((6, 3)))
    assert sizes == [None, 6]


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.processes
@pytest.mark.parametrize(
    ("in_use", "num_devices", "num_examples", "mode", "expected"),
    [
        (False, 1, 32, "auto", 2),
        (False, 2, 64, "auto", 1),
        (False, 1, 64, "loop", 0),
        (True, 1, 64, "none", 0),
    ],
)
def test_threads_of_an_operation(in_use, num_devices, num_examples, mode, expected):
    arguments = [repr((in_use, num_devices, num_examples, mode))]
    finished = Command("tests.fixtures.threads_of_operations", arguments, REPOSITORY).finish()
    assert (finished.code, finished.out.strip()) == (0, str(expected)), finished.error
