"""How several workers and replicas are asked to sum their gradients."""

import pytest
import tensorflow as tf

from vaeflow.devices import replicas, strategies
from vaeflow.devices.workers import Workers
from vaeflow.errors import ConfigurationError


@pytest.fixture
def options(monkeypatch):
    """Those with which strategies of several workers are made; none is made."""
    made = []
    monkeypatch.setenv("TF_CONFIG", "")  # It is set, and set back at the end.
    monkeypatch.setattr(strategies, "find_workers", lambda: Workers(("a:1", "b:2"), 0))
    monkeypatch.setattr(
        tf.distribute,
        "MultiWorkerMirroredStrategy",
        lambda communication_options: made.append(communication_options),
    )
    strategies._multi_worker_once.cache_clear()
    yield made
    strategies._multi_worker_once.cache_clear()


@pytest.mark.parametrize(
    ("communication", "gpus", "expected"),
    [("auto", 0, "AUTO"), ("auto", 2, "NCCL"), ("ring", 2, "RING"), ("nccl", 2, "NCCL")],
)
def test_workers_with_gpus_ask_for_nccl(monkeypatch, options, communication, gpus, expected):
    monkeypatch.setattr(tf.config, "get_visible_devices", lambda kind: ["GPU"] * gpus)
    strategies.automatic(communication)
    assert [each.implementation.value for each in options] == [expected]


def test_another_way_to_communicate_is_refused():
    with pytest.raises(ValueError, match=r"`automatic.communication` must be one of 'auto', 'nccl', 'ring'"):
        strategies.automatic("mpi")


class Context:
    """That of a replica of two, which notes how it is asked to sum."""

    num_replicas_in_sync = 2

    def __init__(self):
        self.asked = []

    def all_reduce(self, operation, values, options):
        self.asked.append((operation, options.bytes_per_pack))
        return values


@pytest.mark.parametrize(("arguments", "expected"), [((), 0), ((2**25,), 2**25)])
def test_sums_are_asked_for_in_packs(monkeypatch, arguments, expected):
    context = Context()
    monkeypatch.setattr(tf.distribute, "get_replica_context", lambda: context)
    assert replicas.sum_over_replicas([1.0], *arguments) == [1.0]
    assert context.asked == [(tf.distribute.ReduceOp.SUM, expected)]


@pytest.mark.parametrize("count", [0, -1, 1025, 10**17])
def test_more_devices_than_anyone_rehearses_are_refused(count):
    """Python has no memory for the list of them, and TensorFlow would make each."""
    with pytest.raises(
        ConfigurationError, match=r"`--virtual_devices` must be a number from 1 to 1,024, got"
    ):
        strategies.split_devices(count)
