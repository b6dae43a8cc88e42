"""The diffusion model of latents: its loss, net and draws against NumPy, and the contract."""

import math

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.fixtures import numpy_flows, small_diffusion, tiny_runs
from tests.fixtures.numpy_ladder import convolution
from tests.fixtures.numpy_vae import sigmoid
from vaeflow import random, testing
from vaeflow.analysis.evaluator import Evaluator
from vaeflow.analysis.examples import Examples
from vaeflow.datasets import InMemoryLatents, InMemorySplit
from vaeflow.datasets.checks import check_reads
from vaeflow.errors import ConfigurationError, DataError
from vaeflow.layers import Denoiser
from vaeflow.models import VAE, DiffusionPrior
from vaeflow.training import making

SHAPE = (2, 3, 2)
LATENTS = np.random.default_rng(0).normal(size=(4, *SHAPE))
MEAN, DEVIATION = 0.7, 0.4
# ᾱ_0 … ᾱ_T of T = 200, by the formula.
VARIANCES = np.linspace(1e-3, 0.08, 200)
KEPT = np.concatenate([[1.0], np.cumprod(1 - VARIANCES)])


def exact(mean=MEAN, deviation=DEVIATION, shape=(1, 1, 1), **settings):
    """A model whose net is the best for latents that are N(mean, deviation²)."""
    settings = {"num_times": 200, "first_variance": 1e-3, "last_variance": 0.08} | settings
    net = small_diffusion.ExactNet(KEPT.tolist(), mean, deviation, dtype="float64")
    model = DiffusionPrior(net, dtype="float64", **settings)
    model.build((None, *shape))
    return model


def noise_of(shape, num_draws, stream="test", first_position=0):
    """What a model draws inside `keyed`, one after the other: `num_draws` arrays."""
    with random.keyed(3, stream, 0, first_position):
        return [random.normal(shape, "float64").numpy() for _ in range(num_draws)]


def drawn(model, count, first_position=0, **arguments):
    with random.keyed(3, "test", 0, first_position):
        return model.sample(count, **arguments).numpy()


def test_the_loss_is_that_of_the_paper():
    model = exact(shape=SHAPE)
    with random.keyed(3, "test", 0):
        loss = model.forward(LATENTS).noise_loss
    with random.keyed(3, "test", 0):
        times = np.ceil(random.uniform((4, 1), "float64").numpy()[:, 0] * 200).astype(int)
        noise = random.normal(LATENTS.shape, "float64").numpy()
    kept = KEPT[times][:, None, None, None]
    noisy = np.sqrt(kept) * LATENTS + np.sqrt(1 - kept) * noise
    predicted = np.sqrt(1 - kept) * (noisy - np.sqrt(kept) * MEAN) / (kept * DEVIATION**2 + 1 - kept)
    np.testing.assert_allclose(loss, np.sum((noise - predicted) ** 2, axis=(1, 2, 3)), rtol=1e-10)


@pytest.mark.parametrize("eta", [0.0, 0.6])
def test_a_draw_follows_the_steps_of_the_paper(eta):
    """Eq. 12 and 16 of Song et al. 2021, with the sampled noise of η = 0.6 and temperature 0.8."""
    model = exact(num_sampling_steps=3, eta=eta)
    first, *others = noise_of((5, 1, 1, 1), 3)
    latents = 0.8 * first
    for time, earlier, noise in zip((200, 134, 67), (134, 67, 0), (*others, 0.0), strict=True):
        kept, before = KEPT[time], KEPT[earlier]
        predicted = math.sqrt(1 - kept) * (latents - math.sqrt(kept) * MEAN)
        predicted /= kept * DEVIATION**2 + 1 - kept
        sigma = eta * math.sqrt((1 - before) / (1 - kept)) * math.sqrt(1 - kept / before)
        clean = (latents - math.sqrt(1 - kept) * predicted) / math.sqrt(kept)
        towards = math.sqrt(1 - before - sigma**2) * predicted
        latents = math.sqrt(before) * clean + towards + sigma * 0.8 * noise
    np.testing.assert_allclose(drawn(model, 5, temperature=0.8), latents, rtol=1e-9)


@pytest.mark.families
@pytest.mark.parametrize("eta", [0.0, 1.0])
def test_with_the_best_net_draws_have_the_distribution_of_the_latents(eta):
    """Within 4 standard errors of mean and deviation, and a small error of the steps."""
    model, count = exact(num_sampling_steps=200, eta=eta), 4_000
    found = drawn(model, count).ravel()
    assert found.mean() == pytest.approx(MEAN, abs=4 * DEVIATION / math.sqrt(count) + 0.005)
    assert found.std() == pytest.approx(DEVIATION, abs=4 * DEVIATION / math.sqrt(2 * count) + 0.01)


def test_a_draw_depends_on_its_number_alone():
    model = exact(num_sampling_steps=3, eta=1.0)
    whole = drawn(model, 6)
    np.testing.assert_array_equal(drawn(model, 2), whole[:2])
    np.testing.assert_array_equal(drawn(model, 2, first_position=4), whole[4:])


def silu(x):
    return x * sigmoid(x)


def dense(layer, x):
    kernel = np.array(layer.kernel)
    return x @ kernel.reshape(kernel.shape[-2:]) + (0 if layer.bias is None else np.array(layer.bias))


def convolving(layers, x):
    """Group normalization, swish and a convolution."""
    normalization, _, conv = layers.blocks
    groups = x.reshape(len(x), -1, normalization.groups, x.shape[-1] // normalization.groups)
    moments = {"axis": (1, 3), "keepdims": True}
    groups = (groups - groups.mean(**moments)) / np.sqrt(groups.var(**moments) + normalization.epsilon)
    normal = groups.reshape(x.shape) * np.array(normalization.gamma) + np.array(normalization.beta)
    return convolved(conv, silu(normal))


def convolved(layer, x):
    return convolution(layer, x) if layer.kernel.shape[0] == 3 else dense(layer, x)


def denoised(net, noisy, times, labels):
    """The net in NumPy: a time's embedding of sines and cosines, and residual blocks."""
    frequencies = 10_000.0 ** (-np.arange(net.filters // 2) / (net.filters // 2))
    angles = times[:, None] * frequencies
    condition = np.concatenate([np.sin(angles), np.cos(angles)], axis=1)
    condition = dense(net.time[1], silu(dense(net.time[0], condition)))
    condition = silu(condition + np.eye(3)[labels] @ np.array(net.labels.kernel))
    value = convolved(net.stem, noisy)
    for first, linear, second in zip(net.firsts, net.conditions, net.seconds, strict=True):
        value = value + convolving(second, convolving(first, value) + dense(linear, condition)[:, None, None])
    return convolving(net.output_layers, value)


@pytest.mark.slow
@pytest.mark.parametrize("shape", [SHAPE, (1, 1, 3)])
def test_the_net_is_that_of_its_twin(shape):
    net = Denoiser(8, 2, dtype="float64")
    net.label_sizes = (3,)
    net.build((None, *shape))
    numpy_flows.perturb(net)
    noisy, times = np.random.default_rng(1).normal(size=(4, *shape)), np.array([1, 7, 400, 1000])
    labels = np.array([0, 2, 1, 2])
    found = net(tf.constant(noisy), tf.constant(times, tf.int32), tf.constant(labels[:, None]))
    np.testing.assert_allclose(found, denoised(net, noisy, times, labels), rtol=1e-7, atol=1e-9)


def test_an_evaluation_is_the_same_each_time_and_says_what_the_net_tells():
    model = exact(mean=0.0, deviation=1.0, shape=SHAPE)
    split = InMemoryLatents(np.random.default_rng(0).normal(size=(1990, *SHAPE)))
    with tiny_runs.untraced():
        evaluator = Evaluator(Examples(model, split, tf.distribute.get_strategy(), 1000))
        results = evaluator.evaluate()
        assert evaluator.evaluate() == results
    assert set(results) == {"noise_loss", "noise_error"}
    # Of N(0, 1) latents the error at t is ᾱ_t; within 4 standard errors of the mean over random t.
    error = 4 * np.sqrt(KEPT[1:].var() / 1990)
    assert results["noise_error"] == pytest.approx(KEPT[1:].mean(), abs=error + 0.005)
    assert results["noise_loss"] == pytest.approx(12 * results["noise_error"])
    assert model.selection_score(results) == results["noise_loss"]


@pytest.mark.families
@pytest.mark.parametrize("check", testing.CHECKS, ids=lambda check: check.__name__.removeprefix("check_"))
def test_contract(check):
    with tiny_runs.untraced():
        check(small_diffusion.small, SHAPE)


@pytest.mark.families
def test_a_saved_model_draws_the_same(tmp_path):
    keras.utils.set_random_seed(0)
    with making.precision("float64"):
        model = small_diffusion.small_conditional()
        model.build((None, *SHAPE))
    numpy_flows.perturb(model)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    labels = np.array([0, 1, 2])
    np.testing.assert_array_equal(drawn(again, 3, labels=labels), drawn(model, 3, labels=labels))
    assert np.abs(drawn(model, 3, labels=labels) - drawn(model, 3, labels=np.zeros(3, int))).max() > 1e-3


def test_data_of_another_kind_are_refused():
    latents = InMemoryLatents(LATENTS)
    check_reads(small_diffusion.small(), latents)
    with pytest.raises(
        ConfigurationError, match="DiffusionPrior takes latents, and the data are images; set"
    ):
        check_reads(small_diffusion.small(), InMemorySplit(np.zeros((4, *SHAPE), np.uint8)))
    with pytest.raises(ConfigurationError, match="VAE takes images, and the data are latents"):
        check_reads(VAE(), latents)
    for wrong in (LATENTS.astype(int), LATENTS[0], np.full_like(LATENTS, np.nan)):
        with pytest.raises(DataError, match=r"latents must be a NumPy array .* of finite floats"):
            InMemoryLatents(wrong)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_sampling_steps": 300}, "must be at most `DiffusionPrior.num_times`, 200, got 300"),
        ({"last_variance": 1e-4}, "`DiffusionPrior.last_variance` must be from .* to below 1, got 0.0001"),
        ({"last_variance": 1.0}, "to below 1, got 1.0"),
        ({"eta": -1}, "`DiffusionPrior.eta` must be a number of at least 0"),
        ({"shape": (3,)}, r"expects latents of the shape \[B, h, w, D\], got \(None, 3\)"),
    ],
)
def test_a_faulty_setting_is_refused(settings, message):
    with pytest.raises((ValueError, ConfigurationError), match=message):
        exact(**settings)


def test_what_are_no_latents_of_the_model_is_refused():
    with pytest.raises(
        ConfigurationError, match=r"takes latents, floats of the shape \[B, 1, 1, 1\], got float64"
    ):
        exact()(LATENTS)
    with pytest.raises(ConfigurationError, match=r"DiffusionPrior.sample` needs a model that knows the size"):
        small_diffusion.small().sample(2)
