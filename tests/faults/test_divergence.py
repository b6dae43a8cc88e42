"""Batches that are not finite: the run stops before a weight is spoilt."""

import math

import pytest
import tensorflow as tf

from tests.fixtures.commands import message
from vaeflow.datasets.order import ExampleOrder

pytestmark = [pytest.mark.processes, pytest.mark.slow, pytest.mark.long]

POISONED = 30


def weights_are_finite(store):
    return all(
        tf.reduce_all(tf.math.is_finite(array))
        for step in store.steps()
        for arrays in store.read_weights(step).values()
        for array in arrays
    )


def diverged(finished):
    """The step and the term that the message names."""
    assert finished.code == 3
    words = message(finished).split(" at step ")[1]
    assert words.endswith("; its update was skipped. Try a lower learning rate or `train.gradient_clip_norm`")
    step, _, term = words.partition(": ")
    return int(step), term.split(" ")[0]


@pytest.mark.parametrize("replicas", [1, 2])
def test_one_bad_image(runs, completes, replicas):
    """Row 8. On two replicas it is one's alone. Without the check the next checkpoint holds NaN.

    That no replica takes the bad step is not seen from outside: test_replicas.py and test_trainer.py show it.
    """
    name = f"bad image on {replicas}"
    # Each replica reads its part of a batch by itself.
    fault = {"FAULT": "one bad image", "FAULT_STEP": 25 * replicas}
    step, term = diverged(runs.run(name, f"--virtual_devices={replicas}", environment=fault))
    assert term == "reconstruction_loss"
    # Several threads read the batches: the 25th that is read need not be that of step 24.
    assert step >= 10
    assert POISONED in ExampleOrder(40, 12, seed=0).batch(step)
    assert runs.store(name).steps() == list(range(10, step + 1, 10))
    assert weights_are_finite(runs.store(name))
    if replicas == 1:
        completes(name)


def test_nothing_but_bad_images(runs, completes):
    """Row 8."""
    finished = runs.run("bad images", environment={"FAULT": "all images bad", "FAULT_STEP": 30})
    step, term = diverged(finished)
    assert 20 <= step < 30
    assert term == "reconstruction_loss"
    assert runs.store("bad images").steps() == [10, 20]
    assert weights_are_finite(runs.store("bad images"))
    assert all(math.isfinite(value) for line in runs.lines("bad images").values() for value in line.values())
    completes("bad images")
