"""A copy of variables: written as TensorFlow would have written them when it was taken."""

import numpy as np
import pytest
import tensorflow as tf

from vaeflow.runs.snapshot import Snapshot


def files_of(write, folder):
    """The content of the files that `write` writes, by their names."""
    folder.mkdir()
    write(str(folder / "variables"))
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def state():
    """Variables of several types, one of them a strategy's, with the names that Keras gives."""
    with tf.distribute.MirroredStrategy(["CPU:0"]).scope():
        mirrored = [tf.Variable(np.arange(12.0).reshape(3, 4), dtype="float32", name="dense/kernel")]
    single = [
        tf.Variable(7, dtype="int64", name="iteration"),
        tf.Variable([1.0, 2.0], dtype="bfloat16"),
        tf.Variable([1.0, np.nan], dtype="float64", trainable=False),
        tf.Variable([True, False]),
        tf.Variable(np.zeros((0, 3))),
    ]
    return tf.train.Checkpoint(model=[*mirrored, *single], averages=[], optimizer=[tf.Variable(0.5)])


def test_its_files_are_those_of_a_checkpoint_to_the_byte(tmp_path):
    """The names of the variables and the empty list are in them too."""
    snapshot, checkpoint = Snapshot(), state()
    snapshot.take(checkpoint)
    found = files_of(snapshot.write, tmp_path / "found")
    assert found == files_of(checkpoint.write, tmp_path / "expected")


def test_what_changes_later_is_not_in_it(tmp_path):
    snapshot, checkpoint = Snapshot(), tf.train.Checkpoint(model=[tf.Variable([1.0, 2.0])])
    for number in range(3):
        snapshot.take(checkpoint)
        expected = files_of(checkpoint.write, tmp_path / f"expected {number}")
        checkpoint.model[0].assign_add([3.0, 4.0])
        assert files_of(snapshot.write, tmp_path / f"found {number}") == expected


def test_it_copies_into_the_same_memory_unless_the_variables_are_others():
    snapshot, variable = Snapshot(), tf.Variable(np.ones((100, 7), np.float32), name="kernel")
    snapshot.take(tf.train.Checkpoint(model=[variable]))
    (first,) = snapshot._arrays.values()
    snapshot.take(tf.train.Checkpoint(model=[variable]))
    assert next(iter(snapshot._arrays.values())) is first
    snapshot.take(tf.train.Checkpoint(model=[tf.Variable(np.ones((7, 100), np.float32), name="kernel")]))
    assert next(iter(snapshot._arrays.values())).shape == (7, 100)


def test_tensorflow_writes_from_its_memory(tmp_path):
    """Where TensorFlow copies it, as it does with most arrays, a save takes another state of memory."""
    snapshot = Snapshot()
    snapshot.take(tf.train.Checkpoint(model=[tf.Variable(np.ones(1001, np.float32)), tf.Variable(3.0)]))
    snapshot.write(str(tmp_path / "variables"))
    for array, variable in zip(snapshot._arrays.values(), snapshot._copy.model, strict=True):
        assert np.shares_memory(np.asarray(variable.read_value()), array)


@pytest.mark.parametrize(("values", "name"), [((1.0, 2.0), None), ((1.0, np.inf), "model/1")])
def test_the_first_that_is_not_finite_is_named(values, name):
    snapshot = Snapshot()
    snapshot.take(tf.train.Checkpoint(model=[tf.Variable(value) for value in values]))
    assert snapshot.first_not_finite() == name
