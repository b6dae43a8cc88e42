"""The codes of a split: which examples, in which order, and what they are."""

import numpy as np
import pytest
import tensorflow as tf

from tests.fixtures import numpy_vae
from tests.fixtures.evaluate_on_replicas import evaluator
from vaeflow import random
from vaeflow.analysis.embedding import embed
from vaeflow.analysis.examples import Examples, spread_indices
from vaeflow.datasets import InMemorySplit


@pytest.fixture(scope="module")
def strategy():
    return tf.distribute.MirroredStrategy(["CPU:0"])


@pytest.fixture(scope="module")
def subject(strategy):
    return evaluator(strategy)


def codes(subject, binarization="none", batch_size=6, seed=3, num_examples=None):
    own = subject.examples
    split = InMemorySplit(own.split.array, binarization=binarization)
    examples = Examples(own.model, split, own.strategy, batch_size, seed).spread(num_examples)
    return embed(examples)["z"]


def numpy_codes(model, images, noise):
    (encoder,) = (layer for layer in model.encoder.blocks if hasattr(layer, "kernel"))
    features = np.maximum(images.reshape(len(images), -1) @ encoder.kernel.numpy() + encoder.bias.numpy(), 0)
    mean, log_variance = (
        features @ layer.kernel.numpy() + layer.bias.numpy()
        for layer in (model.posterior.mean, model.posterior.log_variance)
    )
    return mean, log_variance, mean + np.exp(log_variance / 2) * noise


@pytest.mark.parametrize("binarization", ["none", "dynamic"])
def test_it_equals_a_numpy_computation(subject, binarization):
    images = subject.examples.split.array / 255.0
    with random.keyed(3, "embedding", 0):
        if binarization == "dynamic":
            images = (random.uniform(images.shape, "float64").numpy() <= images).astype(float)
        noise = random.normal((17, 3), "float64").numpy()
    found = codes(subject, binarization)
    mean, log_variance, latents = numpy_codes(subject.model, images, noise)
    np.testing.assert_array_equal(found.indices, np.arange(17))
    np.testing.assert_allclose(found.center, mean, rtol=1e-12)
    np.testing.assert_array_equal(found.parameters["mean"], found.center)
    np.testing.assert_allclose(found.parameters["log_variance"], log_variance, rtol=1e-12)
    np.testing.assert_allclose(found.kl.sum(axis=1), numpy_vae.kl(mean, log_variance), rtol=1e-12)
    np.testing.assert_allclose(found.latents, latents, rtol=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("batch_size", [1, 5, 17, 40])
def test_it_does_not_depend_on_the_batch_size(subject, batch_size):
    one, other = codes(subject), codes(subject, batch_size=batch_size)
    np.testing.assert_allclose(one.latents, other.latents, rtol=1e-12)


@pytest.mark.slow
def test_the_seed_keys_the_samples_only(subject):
    one, other = codes(subject), codes(subject, seed=4)
    np.testing.assert_array_equal(one.center, other.center)
    assert np.abs(one.latents - other.latents).min(axis=1).max() > 1e-3


@pytest.mark.slow
def test_some_examples_are_spread_over_the_split(subject):
    some = codes(subject, num_examples=5)
    assert some.indices.tolist() == [0, 4, 8, 12, 16]
    np.testing.assert_allclose(some.center, codes(subject).center[some.indices], rtol=1e-12)


def test_spread_indices():
    assert spread_indices(4).tolist() == spread_indices(4, 9).tolist() == [0, 1, 2, 3]
    chosen = spread_indices(60_000, 10_000)
    assert len(set(chosen)) == 10_000
    assert (chosen[0], chosen[-1]) == (0, 59_999)
    assert spread_indices(10, 1).tolist() == [0]
