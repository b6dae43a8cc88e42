"""XLA on each replica computes what TensorFlow computes, and leaves nothing inside."""

import contextlib
import json

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.fixtures import tiny_runs
from tests.fixtures.commands import REPOSITORY, Command
from tests.fixtures.replica_steps import BATCH, Coupled, images, make_step, stored
from vaeflow import registry
from vaeflow.devices import cores, replicas
from vaeflow.errors import ConfigurationError
from vaeflow.layers import DenseEncoder
from vaeflow.models import VAE, Update


class Counting(DenseEncoder):
    """Tracks a loss, and counts its calls in a variable."""

    def build(self, input_shape):
        super().build(input_shape)
        self.calls = self.add_weight(shape=(), initializer="zeros", trainable=False, name="calls")

    def call(self, images, training=None):
        features = super().call(images, training)
        self.add_loss(0.3 * tf.reduce_mean(features))
        self.calls.assign_add(1.0)
        return features


class Averaging(VAE):
    """Keeps the sum of its latents."""

    def build(self, input_shape):
        super().build(input_shape)
        self.total = self.add_weight(shape=(3,), initializer="zeros", trainable=False, name="total")

    def updates(self, forward, step):
        return {"total": Update(tf.reduce_sum(forward.latents, 0), lambda s: [(self.total, s)])}


def results(step):
    """Those of one step, as a replica computes them inside the compiled loop."""
    return tf.function(lambda: step.compute(stored(images()), 5))()


def compiled(step):
    step.compile_on_each(step.probe({"images": images()}))
    return results(step)


@pytest.fixture(params=["untraced", pytest.param("compiled", marks=[pytest.mark.long, pytest.mark.slow])])
def way(request):
    """XLA needs seconds for its first function; without it the same passes run as plain Python."""
    with contextlib.nullcontext() if request.param == "compiled" else tiny_runs.untraced():
        yield


def test_gradients_losses_of_blocks_updates_and_assigned_variables_leave_the_compiled_function(way):
    step = make_step(Averaging, encoder=Counting((6,), dtype="float64"))
    expected, found = results(step), compiled(step)
    assert float(expected.metrics["block_losses"]) != 0.0
    for one, other in zip(*map(tf.nest.flatten, (found, expected)), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-12, atol=1e-14)
    assert step.model.encoder.calls.numpy() == 3.0  # One more for the probe.


def test_of_an_objective_that_couples_examples_blocks_are_compiled(monkeypatch, way):
    expected, seen = results(make_step(Coupled)), []
    compile_block = cores._compiled
    monkeypatch.setattr(cores, "_compiled", lambda *block: seen.append(block[0]) or compile_block(*block))
    step = make_step(Coupled)
    found = compiled(step)
    assert seen == [step.model.encoder, step.model.decoder]
    for one, other in zip(*map(tf.nest.flatten, (found, expected)), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-12, atol=1e-14)


def normalized():
    return keras.Sequential([keras.layers.Flatten(), keras.layers.BatchNormalization(dtype="float64")])


@pytest.mark.parametrize(
    ("kind", "encoder", "message"),
    [
        (VAE, normalized, r"cannot compile BatchNormalization\(synchronized=True\) on several replicas"),
        (Coupled, lambda: Counting((6,), dtype="float64"), "since its term 'spread' couples the whole batch"),
    ],
)
def test_what_cannot_be_compiled_is_refused(kind, encoder, message):
    step = make_step(kind, encoder=encoder())
    with pytest.raises(ConfigurationError, match=f"{message}.*set `train.compile_mode` to 'none' or 'auto'"):
        compiled(step)


class OnTwoReplicas:
    """The context of a replica of two."""

    num_replicas_in_sync = 2


@pytest.mark.parametrize("collective", [replicas.gather, replicas.sum_over_replicas])
def test_a_collective_inside_of_what_is_compiled_is_refused(monkeypatch, collective):
    monkeypatch.setattr(tf.distribute, "get_replica_context", OnTwoReplicas)
    expected = pytest.raises(ConfigurationError, match="set `couples_examples = True` on the model's class")
    with replicas.compiling_for_one(), expected:
        collective(tf.zeros(BATCH))


def differences(count, cases):
    """What `compile_on_replicas` finds: case -> how far the weights are apart, or why XLA is refused."""
    finished = Command("tests.fixtures.compile_on_replicas", [count, cases], REPOSITORY).finish(seconds=3600)
    assert finished.code == 0, finished.error[-5000:]
    return json.loads(finished.out.splitlines()[-1])


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.processes
def test_passes_of_each_kind_train_the_same_on_two_replicas():
    found = differences(2, "structures")
    assert found.pop("selected") == 0.0  # With updates that are skipped by selection, not by a branch.
    assert "couples the whole batch" in found.pop("refused")
    assert "BatchNormalization(synchronized=True)" in found.pop("normalized")
    assert found.keys() == {"accumulated", "losses of blocks", "gathered", "updates"}
    assert max(found.values()) < 1e-9, found


LARGEST = {"AutoencoderKL"}  # As the program names them.


@pytest.mark.matrix
@pytest.mark.slow
@pytest.mark.processes
@pytest.mark.parametrize("count", [1, 2, 4])
def test_every_registered_model_trains_the_same(count):
    found = differences(count, "models")
    registry.load_builtins()
    names = {entry.name for entry in registry.entries("model") if entry.package == "vaeflow"}
    assert names - LARGEST <= found.keys()
    assert max(found.values()) < 1e-9, found


@pytest.mark.matrix
@pytest.mark.slow
@pytest.mark.processes
@pytest.mark.parametrize("count", [1, 2, 4])
def test_the_largest_nets_train_the_same(count):
    found = differences(count, "largest")
    assert found.keys() == LARGEST
    assert max(found.values()) < 1e-9, found
