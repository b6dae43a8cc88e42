"""WAE against the NumPy oracle of Alg. 2 of arXiv:1711.01558.

Compared once with pythae 0.1.2 (torch 2.13, float64, equal weights and draws): the loss and
the MMD of its WAE_MMD are equal with both kernels at a weight of 10 (3e-16 relative), with
the deterministic encoder, the only one it has.
"""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.fixtures import numpy_divergences, numpy_objectives, numpy_vae
from tests.fixtures.small_objectives import (
    assert_parts_make_the_whole,
    draws,
    images,
    loss_of,
    make_model,
    terms_of,
    terms_of_parts,
)
from vaeflow import random
from vaeflow.analysis.evaluator import Evaluator
from vaeflow.analysis.examples import Examples
from vaeflow.analysis.importance_sampling import ImportanceSampler
from vaeflow.datasets import InMemorySplit
from vaeflow.devices import strategies
from vaeflow.errors import ConfigurationError
from vaeflow.models import WAE
from vaeflow.schedules import LinearSchedule


@pytest.fixture(params=["imq", "rbf"])
def kernel(request):
    return request.param


def weights(model):
    """In the order of use: encoder, mean (and log variance), decoder."""
    posterior = model.posterior
    layers = [posterior.code] if model.deterministic else [posterior.mean, posterior.log_variance]
    layers = [model.encoder.blocks[1], *layers, model.decoder.hidden[0], model.decoder.output_layer]
    return [value.numpy() for layer in layers for value in (layer.kernel, layer.bias)]


def pass_through(model, examples, noise):
    """Returns the costs and the latents."""
    w = weights(model)
    features = np.maximum(examples.reshape(len(examples), -1) @ w[0] + w[1], 0)
    latents = features @ w[2] + w[3]
    if not model.deterministic:
        latents = latents + np.exp(0.5 * (features @ w[4] + w[5])) * noise
    outputs = np.maximum(latents @ w[-4] + w[-3], 0) @ w[-2] + w[-1]
    reconstructions = numpy_vae.sigmoid(outputs).reshape(examples.shape)
    return numpy_objectives.squared_error(examples, reconstructions), latents


@pytest.mark.slow
@pytest.mark.parametrize("deterministic", [False, True])
@pytest.mark.parametrize("mmd_weight", [0.0, 10.0, 3.5])
def test_objective(kernel, deterministic, mmd_weight):
    model = make_model(WAE, kernel=kernel, deterministic=deterministic, mmd_weight=mmd_weight)
    noise, prior_samples = draws()
    if deterministic:
        prior_samples = noise  # The first draw: the code draws none.
    costs, latents = pass_through(model, images(), noise)
    expected, loss = numpy_objectives.wae_mmd(costs, latents, prior_samples, mmd_weight, kernel)
    terms = terms_of(model, images())
    np.testing.assert_allclose(terms["reconstruction_loss"].value, costs, rtol=1e-10)
    np.testing.assert_allclose(np.mean(terms["mmd"].value), expected["mmd"], rtol=1e-10)
    assert loss_of(terms) == pytest.approx(loss, rel=1e-10)
    assert ("kl" in terms) is not deterministic


@pytest.mark.slow
def test_two_replicas_see_one_mmd(monkeypatch, kernel):
    model = make_model(WAE, kernel=kernel)
    parts = terms_of_parts(monkeypatch, model, images())
    assert_parts_make_the_whole(parts, terms_of(model, images()))


def test_a_replica_on_its_own(monkeypatch, kernel):
    model = make_model(WAE, kernel=kernel, scope="replica")
    for part, rows in zip(terms_of_parts(monkeypatch, model, images()), (slice(0, 3), slice(3, 6))):
        noise, prior_samples = draws(3, first_position=rows.start, shared=False)
        _, latents = pass_through(model, images()[rows], noise)
        expected = numpy_divergences.mmd(latents, prior_samples, kernel)
        np.testing.assert_allclose(np.mean(part["mmd"].value), expected, rtol=1e-10)


@pytest.mark.parametrize("dtype", ["float32", "float64", "mixed_bfloat16"])
def test_a_deterministic_encoder_gives_its_code(dtype):
    model = WAE(deterministic=True, num_latents=3, dtype=dtype)
    examples = tf.constant(numpy_vae.images(5), model.variable_dtype)
    with random.keyed(0, "train", 0):
        forward = model.forward(examples, training=True)
    np.testing.assert_array_equal(forward.latents, forward.posterior.center)
    again, once = (tf.cast(model(examples, training=way), "float64") for way in (True, False))
    np.testing.assert_array_equal(again, once)


def test_a_deterministic_encoder_trains_all_it_has():
    model = make_model(WAE, deterministic=True)
    assert len(model.posterior.trainable_variables) == 2
    with tf.GradientTape() as tape:
        terms = terms_of(model, images())
        loss = tf.add_n([tf.reduce_mean(term.value) for term in terms.values()])
    for variable, gradient in zip(model.trainable_variables, tape.gradient(loss, model.trainable_variables)):
        assert gradient is not None, variable.path
        assert np.any(gradient), variable.path


@pytest.mark.slow
def test_what_a_deterministic_encoder_does_not_define_is_left_out():
    model = WAE(deterministic=True, num_latents=3, **numpy_vae.blocks())
    model.build((None, 4, 3, 2))
    split = InMemorySplit((255 * numpy_vae.images(5)).astype(np.uint8))
    examples = Examples(model, split, strategies.mirrored(), 2)
    results = Evaluator(examples).evaluate()
    assert results.keys() == {"reconstruction_loss", "active_units"}
    assert np.all(np.isfinite(list(results.values())))
    with pytest.raises(ConfigurationError, match="the posterior of the latents 'z', a Point, has no density"):
        ImportanceSampler(examples).estimate()


def test_a_deterministic_model_comes_back(tmp_path):
    model = make_model(WAE, deterministic=True, mmd_weight=3.0, kernel="rbf")
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    assert (again.deterministic, again.mmd_weight, again.kernel) == (True, 3.0, "rbf")
    np.testing.assert_array_equal(again(images()), model(images()))
    assert len(again.weights) == len(model.weights) == 8


def test_a_confident_pixel_keeps_its_gradient_in_half_precision():
    model = WAE(num_latents=3, dtype="mixed_bfloat16", **numpy_vae.blocks(dtype="mixed_bfloat16"))
    model.build((None, 4, 3, 2))
    bias = model.decoder.output_layer.bias
    bias.assign(tf.fill(bias.shape, 8.0))  # A mean of 1 − 3e-4, which bfloat16 rounds to 1.
    with tf.GradientTape() as tape:
        terms = terms_of(model, np.zeros((2, 4, 3, 2), np.float32))
        loss = tf.reduce_mean(terms["reconstruction_loss"].value)
    assert np.all(tape.gradient(loss, bias) > 0)


def test_the_mmd_weight_may_be_a_schedule():
    model = make_model(WAE, mmd_weight=LinearSchedule(0.0, 10.0, 10))
    assert float(terms_of(model, images(), 3)["mmd"].weight) == pytest.approx(3.0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"mmd_weight": -1.0}, "`WAE.mmd_weight` must be a number of at least 0, got -1.0"),
        ({"kernel": "laplace"}, "`WAE.kernel` must be one of 'imq', 'rbf'; got 'laplace'"),
        ({"deterministic": "yes"}, "`WAE.deterministic` must be True or False, got 'yes'"),
        ({"free_bits": 0.1}, "`WAE.free_bits` must be left at 0.0, got 0.1: a WAE has no KL"),
        ({"kl_weight": 2.0}, "`WAE.kl_weight` must be left at 1.0, got 2.0: a WAE has no KL"),
        ({"kl_weight": LinearSchedule()}, "`WAE.kl_weight` must be left at 1.0, got <"),
    ],
)
def test_faulty_settings_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        WAE(**arguments)


def test_one_example_is_refused():
    with pytest.raises(ConfigurationError, match="needs at least 2 of them, got 1"):
        terms_of(make_model(WAE), images(1))
