"""The state of a training against a checkpoint: each bit, and the distance of the weights."""

import numpy as np
import pytest
import tensorflow as tf

from vaeflow.commands.verification import states
from vaeflow.runs import checkpoint_files
from vaeflow.runs.checkpoints import CheckpointStore


def state(weights, step=3, dtype=np.float32):
    """The variables of a training: weights, and an optimizer with a slot and a counter."""
    return tf.train.Checkpoint(
        model=[tf.Variable(np.asarray(value, dtype)) for value in weights],
        optimizer=[tf.Variable(np.asarray(0.25, dtype)), tf.Variable(np.int64(step))],
    )


@pytest.fixture
def folder(tmp_path):
    return CheckpointStore(tmp_path).save(state([[3.0], [0.0, 4.0]]), 1)


def test_the_same_state(folder):
    found = states.compare(state([[3.0], [0.0, 4.0]]), folder)
    assert found == {"variables": 4, "different": 0, "deviation": 0.0}


def test_one_bit_of_a_weight(folder):
    """The norm of the weights is 5."""
    found = states.compare(state([[3.0], [0.0, np.nextafter(np.float32(4), np.float32(5))]]), folder)
    assert found["different"] == 1
    assert found["deviation"] == pytest.approx(2.0**-21 / 5)


def test_a_counter_counts_as_a_variable_but_not_as_a_weight(folder):
    assert states.compare(state([[3.0], [0.0, 4.0]], step=4), folder) == {
        "variables": 4, "different": 1, "deviation": 0.0,
    }  # fmt: skip


def test_a_state_in_float64_is_at_no_distance_though_it_has_other_bits(folder):
    found = states.compare(state([[3.0], [0.0, 4.0]], dtype=np.float64), folder)
    assert (found["different"], found["deviation"]) == (3, 0.0)


def test_the_distance_is_relative_to_the_first(folder):
    assert states.distance({"a": np.array([3.0, 4.0])}, {"a": np.array([3.0, 4.5])}) == pytest.approx(0.1)
    assert states.distance({"a": np.zeros(2)}, {"a": np.zeros(2)}) == 0.0
    assert states.distance({"a": np.zeros(2)}, {"a": np.ones(2)}) == 1.0


def test_a_checkpoint_is_read_into_another_precision_only_where_that_is_asked_for(folder):
    double = state([[0.0], [0.0, 0.0]], step=0, dtype=np.float64)
    assert checkpoint_files.restore(double, folder, casts=True) is None
    assert double.model[1].numpy().tolist() == [0.0, 4.0]
    assert int(double.optimizer[1]) == 3
    with pytest.raises(checkpoint_files.ConfigurationError):
        checkpoint_files.restore(double, folder)
