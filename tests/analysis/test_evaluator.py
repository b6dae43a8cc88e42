"""Evaluation against a NumPy computation, and its independence of batches and replicas."""

import json

import numpy as np
import pytest
import tensorflow as tf

from tests.fixtures import frozen_nets, tiny_runs
from tests.fixtures.commands import REPOSITORY, Command
from tests.fixtures.evaluate_on_replicas import compared, evaluator, latents, streamed
from vaeflow import random
from vaeflow.metrics.base import Metric


@pytest.fixture(scope="module")
def strategy():
    return tf.distribute.MirroredStrategy(["CPU:0"])


def dense(values, layer):
    return values @ layer.kernel.numpy() + layer.bias.numpy()


def numpy_evaluation(evaluator, binarization, batch_size):
    """The same quantities, one batch after the other, in NumPy and float64."""
    model = evaluator.model
    (encoder,) = (layer for layer in model.encoder.blocks if hasattr(layer, "kernel"))
    (decoder,) = (layer for layer in model.decoder.hidden if hasattr(layer, "kernel"))
    totals, means = 0.0, []
    for first in range(0, evaluator.examples.split.num_examples, batch_size):
        images = evaluator.examples.split.array[first : first + batch_size] / 255.0
        with random.keyed(evaluator.examples.seed, "evaluation", 0, first):
            if binarization == "dynamic":
                images = (random.uniform(images.shape, "float64").numpy() <= images).astype(float)
            noise = random.normal((len(images), model.num_latents), "float64").numpy()
        pixels = images.reshape(len(images), -1)
        features = np.maximum(dense(pixels, encoder), 0)
        mean, log_variance = (
            dense(features, model.posterior.mean),
            dense(features, model.posterior.log_variance),
        )
        latents = mean + np.exp(log_variance / 2) * noise
        logits = dense(np.maximum(dense(latents, decoder), 0), model.decoder.output_layer)
        reconstruction_loss = np.sum(np.logaddexp(0, logits) - pixels * logits)
        kl = 0.5 * np.sum(mean**2 + np.exp(log_variance) - log_variance - 1, axis=0)
        totals += np.array([reconstruction_loss, *kl])
        means.append(mean)
    reconstruction_loss, *kl = totals / evaluator.examples.split.num_examples
    return {
        "negative_elbo": reconstruction_loss + sum(kl),
        "reconstruction_loss": reconstruction_loss,
        "kl": sum(kl),
        "active_units": float(np.sum(np.var(np.concatenate(means), axis=0) > 0.01)),
        **{f"kl_per_dimension/{dimension:02d}": value for dimension, value in enumerate(kl)},
    }


@pytest.mark.slow
@pytest.mark.parametrize("binarization", ["none", "dynamic"])
@pytest.mark.parametrize("batch_size", [6, 17, 32])
def test_it_equals_a_numpy_computation(strategy, binarization, batch_size):
    under_test = evaluator(strategy, binarization, batch_size)
    results = under_test.evaluate()
    expected = numpy_evaluation(under_test, binarization, batch_size)
    assert results.keys() == expected.keys()
    for name, value in expected.items():
        assert results[name] == pytest.approx(value, rel=1e-12), name
    assert 0 < results["active_units"] < 3


def test_terms_add_up(strategy):
    results = evaluator(strategy).evaluate()
    dimensions = [value for name, value in results.items() if name.startswith("kl_per_dimension/")]
    assert len(dimensions) == 3
    assert sum(dimensions) == pytest.approx(results["kl"], rel=1e-12)
    assert results["negative_elbo"] == results["reconstruction_loss"] + results["kl"]


@pytest.mark.long
@pytest.mark.parametrize("binarization", ["none", "dynamic"])
def test_it_does_not_depend_on_the_batch_size(strategy, binarization):
    one = evaluator(strategy, binarization, batch_size=17).evaluate()
    for batch_size in (1, 5, 40):
        other = evaluator(strategy, binarization, batch_size).evaluate()
        assert other == pytest.approx(one, rel=1e-12), batch_size


def test_metrics_are_averaged_over_the_examples(strategy):
    class Brightness(Metric):
        """The sum of an image's pixels, and of its reconstruction."""

        def per_example(self, model, forward):
            axes = [1, 2, 3]
            return {
                "brightness": tf.reduce_sum(forward.images, axes),
                "reconstructed": tf.reduce_sum(forward.reconstruction.mean, axes),
            }

    under_test = evaluator(strategy, batch_size=6, metrics=[Brightness()])
    results = under_test.evaluate()
    expected = np.mean(np.sum(under_test.examples.split.array / 255.0, axis=(1, 2, 3)))
    assert results["brightness"] == pytest.approx(expected, rel=1e-12)
    assert 0 < results["reconstructed"] < 64


@pytest.mark.slow
def test_it_is_repeatable_and_follows_the_weights(strategy):
    under_test = evaluator(strategy)
    first = under_test.evaluate()
    assert under_test.evaluate() == first
    assert evaluator(strategy, seed=4).evaluate()["reconstruction_loss"] != first["reconstruction_loss"]
    kernel = under_test.model.posterior.mean.kernel
    kernel.assign(kernel.numpy() * 2)
    assert under_test.evaluate()["kl"] > 1.5 * first["kl"]


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.processes
@pytest.mark.parametrize("count", [2, 4])
def test_several_replicas_agree_with_one(strategy, tmp_path, count):
    path = str(tmp_path / "net.keras")
    frozen_nets.save(path, tiny_runs.SHAPE)
    finished = Command("tests.fixtures.evaluate_on_replicas", [count, path], REPOSITORY).finish()
    assert finished.code == 0, finished.error
    several = json.loads(finished.out)
    assert several["num_replicas"] == count
    for binarization in ("none", "dynamic"):
        one = evaluator(strategy, binarization).evaluate()
        assert several[binarization].keys() == one.keys()
        for name, value in one.items():
            assert several[binarization][name] == pytest.approx(value, rel=1e-12), (binarization, name)
    np.testing.assert_allclose(several["latents"], latents(evaluator(strategy)), rtol=1e-12)
    assert several["compared"] == pytest.approx(compared(strategy, path, batch_size=5), rel=1e-9)
    assert len(several["compared"]) == 8
    assert any(0 < several["compared"][name] < 1 for name in several["compared"] if "recall" in name)
    assert several["streamed"] == list(streamed(strategy, 62, 4))
