"""Importance sampling against exact likelihoods, a NumPy twin, and its own independence of batches."""

import json
import math

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.fixtures import numpy_vae
from tests.fixtures.commands import REPOSITORY, Command
from tests.fixtures.importance_sampling_on_replicas import (
    NUM_SAMPLES,
    SHAPE,
    results,
    sampler,
    split,
)
from vaeflow import random
from vaeflow.analysis import importance_sampling
from vaeflow.analysis.evaluator import Evaluator
from vaeflow.analysis.examples import Examples
from vaeflow.analysis.importance_sampling import ImportanceSampler, bits_per_dimension
from vaeflow.datasets import InMemorySplit
from vaeflow.layers import (
    BernoulliLikelihood,
    CategoricalLikelihood,
    ContinuousBernoulliLikelihood,
    DenseDecoder,
    DenseEncoder,
    GaussianLikelihood,
)
from vaeflow.models import VAE, Model

SIGMA = 0.3


@pytest.fixture(scope="module")
def strategy():
    return tf.distribute.MirroredStrategy(["CPU:0"])


@pytest.fixture(scope="module")
def loadings():
    """W with orthogonal columns: then the exact posterior of x = W z + bias + σ ε has no covariances."""
    orthogonal, _ = np.linalg.qr(np.random.default_rng(0).normal(size=(math.prod(SHAPE), 3)))
    return orthogonal * np.array([0.9, 0.5, 0.2])


def linear_model(strategy, loadings, dtype, widened=1.0):
    """A linear Gaussian decoder with its exact posterior, or one whose variance is `widened`."""
    with strategy.scope():
        model = VAE(
            num_latents=3,
            encoder=DenseEncoder(units=(), dtype=dtype),
            decoder=DenseDecoder(units=(), dtype=dtype),
            likelihood=GaussianLikelihood(SIGMA, dtype=dtype),
            dtype=dtype,
        )
        model.build((None, *SHAPE))
    bias = np.full(len(loadings), 0.5)
    # Bishop 2006, "Pattern Recognition and Machine Learning", Eq. 12.42.
    variance = 1 / (1 + np.sum(loadings**2, axis=0) / SIGMA**2)
    kernel = loadings * variance / SIGMA**2
    model.decoder.output_layer.set_weights([loadings.T, bias])
    model.posterior.mean.set_weights([kernel, -bias @ kernel])
    model.posterior.log_variance.set_weights([np.zeros_like(kernel), np.log(widened * variance)])
    return model


def exact_likelihood(loadings, examples):
    """−log N(x; bias, W Wᵀ + σ² I), mean over a split; Bishop 2006, Eq. 12.35."""
    centred = examples.array.reshape(examples.num_examples, -1) / 255 - 0.5
    covariance = loadings @ loadings.T + SIGMA**2 * np.eye(len(loadings))
    distance = np.sum(centred * np.linalg.solve(covariance, centred.T).T, axis=1)
    return np.mean(0.5 * (distance + np.linalg.slogdet(2 * np.pi * covariance)[1]))


@pytest.mark.slow
@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-10), ("float32", 1e-4)])
def test_the_exact_posterior_gives_the_exact_likelihood_from_any_number_of_samples(
    strategy, loadings, dtype, tolerance
):
    model = linear_model(strategy, loadings, dtype)
    estimate = ImportanceSampler(Examples(model, split(), strategy, 1), (7, 1, 50)).estimate()
    assert list(estimate) == [1, 7, 50]
    for nats in estimate.values():
        assert nats == pytest.approx(exact_likelihood(loadings, split()), abs=tolerance)


@pytest.mark.slow
def test_another_posterior_gives_a_bound_that_tightens(strategy, loadings):
    model, examples = linear_model(strategy, loadings, "float64", widened=3.0), split(1000)
    estimate = ImportanceSampler(Examples(model, examples, strategy, 1), (1, 10, 100)).estimate()
    gaps = [nats - exact_likelihood(loadings, examples) for nats in estimate.values()]
    # The ELBO lacks KL(q(z|x) ‖ p(z|x)): 3 latents, each with 3 times the variance.
    assert gaps[0] == pytest.approx(1.5 * (3 - math.log(3) - 1), rel=0.1)
    assert gaps[0] > 5 * gaps[1] > 0
    assert abs(gaps[2]) < 0.2 * gaps[1]


def twin(under_test, num_samples):
    """The estimates in NumPy and float64, from all importance weights at once."""
    split, seed = under_test.examples.split, under_test.examples.seed
    examples = split.array / 255.0
    if split.binarization == "dynamic":
        with random.keyed(seed, "evaluation", 0):
            examples = (random.uniform(examples.shape, "float64").numpy() <= examples).astype(float)
    num_blocks = math.ceil(max(num_samples) / 10)
    # Ten rows for each example, one after the other.
    shape, stream = (len(examples) * 10, 3), "importance_sampling/latents"
    noise = [
        numpy_vae.noise(block, shape, seed=seed, stream=stream).reshape(len(examples), 10, 3)
        for block in range(num_blocks)
    ]
    log_weights = []
    for epsilon in np.concatenate(noise, axis=1).transpose(1, 0, 2):
        _, log_variance, latents, outputs = numpy_vae.forward(under_test.model, examples, epsilon)
        if isinstance(under_test.model.likelihood, GaussianLikelihood):
            variance = np.exp(under_test.model.likelihood.initial_log_variance)
            loss = numpy_vae.gaussian_loss(outputs, variance, examples)
        else:
            loss = numpy_vae.bernoulli_loss(outputs, examples)
        # log p(z) − log q(z|x); the terms in 2π are the same in both.
        ratio = 0.5 * np.sum(epsilon**2 + log_variance - latents**2, axis=1)
        log_weights.append(ratio - loss)
    return {k: np.mean(np.log(k) - np.logaddexp.reduce(log_weights[:k])) for k in num_samples}


@pytest.mark.slow
@pytest.mark.parametrize("binarization", ["none", "dynamic"])
def test_it_equals_a_numpy_computation(strategy, binarization):
    under_test = sampler(strategy, "float64", binarization)
    expected = twin(under_test, NUM_SAMPLES)
    assert under_test.estimate() == pytest.approx(expected, rel=1e-12)
    assert expected[1] > expected[30]


@pytest.mark.slow
def test_it_does_not_depend_on_the_batch_size(strategy):
    expected = sampler(strategy, "float64", "dynamic").estimate()
    for batch_size in (1, 5, 40):
        under_test = sampler(strategy, "float64", "dynamic", batch_size=batch_size)
        assert under_test.estimate() == pytest.approx(expected, rel=1e-12), batch_size


@pytest.mark.long
def test_it_does_not_depend_on_the_cores_that_share_a_batch(strategy, monkeypatch):
    """Five examples in three parts, each with its own posterior and noise."""
    whole = sampler(strategy, "float64", batch_size=5).estimate()
    asked = []
    monkeypatch.setattr(importance_sampling.cores, "parts_at_a_time", lambda *sizes: asked.append(sizes) or 3)
    assert sampler(strategy, "float64", batch_size=5).estimate() == pytest.approx(whole, rel=1e-12)
    assert set(asked) == {(50, 1)}


@pytest.mark.long
@pytest.mark.parametrize(("seconds", "num_calls"), [(0.0, 9), (1e9, 4)])
def test_it_does_not_depend_on_how_the_samples_are_cut_into_calls(strategy, monkeypatch, seconds, num_calls):
    expected = sampler(strategy, "float64").estimate()
    monkeypatch.setattr(importance_sampling, "_SECONDS_PER_CALL", seconds)
    fractions = []
    estimate = sampler(strategy, "float64", batch_size=6).estimate(fractions.append)
    assert estimate == pytest.approx(expected, rel=1e-12)
    # Three batches of three blocks; only the first call tries a single block.
    assert len(fractions) == num_calls
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1.0


@pytest.mark.long
def test_it_is_repeatable_and_follows_the_seed_and_the_weights(strategy):
    under_test = sampler(strategy)
    first = under_test.estimate()
    assert under_test.estimate() == first
    assert sampler(strategy, seed=4).estimate()[1] != first[1]
    bias = under_test.model.decoder.output_layer.bias
    bias.assign(bias.numpy() + 5)
    assert under_test.estimate()[1] > first[1] + 1


@pytest.mark.slow
def test_improbable_images_do_not_underflow(strategy):
    under_test = sampler(strategy, likelihood=GaussianLikelihood(0.003))
    estimate = under_test.estimate()
    assert estimate[25] > 1e5
    # float32 has seven digits.
    assert estimate == pytest.approx(twin(under_test, NUM_SAMPLES), rel=1e-5)


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.processes
def test_four_replicas_agree_with_one(strategy):
    finished = Command("tests.fixtures.importance_sampling_on_replicas", [4], REPOSITORY).finish()
    assert finished.code == 0, finished.error
    four = json.loads(finished.out)
    assert four.pop("num_replicas") == 4
    one = results(strategy)
    assert four.keys() == one.keys()
    for binarization, estimate in one.items():
        assert four[binarization] == pytest.approx(estimate, rel=1e-5), binarization


def test_batches_fit_the_memory(strategy):
    model = Model()

    def batch_size(num_examples, shape):
        examples = InMemorySplit(np.zeros((num_examples, *shape), np.uint8))
        return ImportanceSampler(Examples(model, examples, strategy, 1)).examples.batch_size

    assert batch_size(10_000, (28, 28, 1)) == 264  # 38 batches; 267 is the most that fit.
    assert batch_size(3, (28, 28, 1)) == 3
    assert batch_size(2, (512, 512, 3)) == 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_samples": (1, 0)}, "`ImportanceSampler.num_samples` must be a positive integer, got 0"),
        ({"num_samples": (-5,)}, "`ImportanceSampler.num_samples` must be a positive integer, got -5"),
        ({"num_samples": 50}, "`ImportanceSampler.num_samples` must be a list of positive integers, got 50"),
        ({"num_samples": ()}, "`ImportanceSampler.num_samples` must name at least one number"),
        ({"batch_size": 0}, "`ImportanceSampler.batch_size` must be a positive integer, got 0"),
    ],
)
def test_faulty_settings_are_refused(strategy, changes, message):
    with pytest.raises(ValueError, match=message):
        ImportanceSampler(Examples(Model(), split(), strategy, 1), **changes)


def images_of(values, dtype="uint8", binarization="none"):
    array = np.resize(np.array(values), (2, *SHAPE)).astype(dtype)
    return InMemorySplit(array, binarization=binarization)


def test_bits_per_dimension_of_a_probability():
    # A fair coin for each of 24 pixels.
    nats = 24 * math.log(2)
    for images in (
        images_of([0, 255]),
        images_of([0, 1], "float32"),
        images_of([200], binarization="dynamic"),
    ):
        assert bits_per_dimension(nats, images, BernoulliLikelihood().measure) == pytest.approx(1.0)


def test_bits_per_dimension_of_a_density():
    # A uniform density of 1 on the range tells nothing of 256 levels; half the range is one bit less.
    measure, images = GaussianLikelihood().measure, images_of([200])
    assert bits_per_dimension(0.0, images, measure) == pytest.approx(8.0)
    assert bits_per_dimension(-24 * math.log(2), images, measure) == pytest.approx(7.0)


@pytest.mark.parametrize(
    ("likelihood", "images"),
    [
        (GaussianLikelihood(normalized=False), images_of([200])),
        (GaussianLikelihood(), images_of([0.5], "float32")),
        (GaussianLikelihood(), images_of([200], binarization="dynamic")),
        (BernoulliLikelihood(), images_of([0, 200])),
        (BernoulliLikelihood(), images_of([0, 0.5], "float32")),
    ],
)
def test_bits_per_dimension_without_meaning(likelihood, images):
    assert bits_per_dimension(10.0, images, likelihood.measure) is None


@pytest.mark.slow
@pytest.mark.parametrize("likelihood", [CategoricalLikelihood(), ContinuousBernoulliLikelihood()])
def test_a_model_that_knows_nothing_of_bytes_needs_eight_bits_for_each(likelihood):
    """Each of 256 levels is as likely, or the density over 0 to 1 is 1 everywhere."""
    keras.utils.set_random_seed(0)
    model = VAE(2, DenseEncoder((4,)), DenseDecoder((4,)), likelihood)
    model.build((None, *SHAPE))
    for variable in model.trainable_variables:
        variable.assign(tf.zeros_like(variable))
    images = images_of(range(0, 256, 5))
    nats = ImportanceSampler(Examples(model, images, tf.distribute.get_strategy(), 2), (1,)).estimate()[1]
    assert bits_per_dimension(nats, images, model.measure) == pytest.approx(8.0, abs=1e-5)


@pytest.mark.slow
def test_it_sees_the_binarization_that_the_evaluation_sees():
    """Two draws differ by about a nat here; where the latents do not matter, one gives equal bounds."""
    keras.utils.set_random_seed(0)
    model = VAE(2, DenseEncoder((4,)), DenseDecoder((4,)))
    model.build((None, *SHAPE))
    for variable in model.trainable_variables:
        variable.assign(tf.zeros_like(variable))
    model.decoder.output_layer.bias.assign(np.linspace(-3, 3, math.prod(SHAPE)))
    examples = Examples(
        model, images_of(range(0, 256, 5), binarization="dynamic"), tf.distribute.get_strategy(), 2
    )
    expected = Evaluator(examples).evaluate()["negative_elbo"]
    assert ImportanceSampler(examples, [1]).estimate()[1] == pytest.approx(expected, rel=1e-6)
