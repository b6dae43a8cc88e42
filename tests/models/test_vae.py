"""The VAE against its NumPy twin."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.fixtures import numpy_vae
from vaeflow import random
from vaeflow.errors import ConfigurationError
from vaeflow.layers import (
    BernoulliLikelihood,
    ConvMapDecoder,
    ConvMapEncoder,
    GaussianLikelihood,
    GaussianMapPosterior,
)
from vaeflow.models import DIPVAE, SWAE, VAE, WAE, AdversarialAutoencoder, BetaTCVAE, FactorVAE, InfoVAE
from vaeflow.schedules import LinearSchedule

STEP = 7


def make_vae(likelihood=None, **arguments):
    blocks = numpy_vae.blocks(dtype="float64")
    model = VAE(num_latents=3, likelihood=likelihood, dtype="float64", **blocks, **arguments)
    model.build((None, 4, 3, 2))
    for variable in model.trainable_variables:  # Biases of 0 would hide their places.
        variable.assign_add(0.1 * np.random.default_rng(1).normal(size=variable.shape))
    return model


def terms_of(model, images, step=STEP):
    with random.keyed(0, "train", step):
        return model.objective(model.forward(tf.constant(images)), step)


def negative_log_likelihood(model, outputs, images):
    likelihood = model.likelihood
    if isinstance(likelihood, BernoulliLikelihood):
        return numpy_vae.bernoulli_loss(outputs, images)
    if likelihood.learned == "per_pixel":
        return numpy_vae.gaussian_loss(outputs[..., :2], 0.49 * np.exp(outputs[..., 2:]), images)
    if likelihood.learned == "scalar":
        return numpy_vae.gaussian_loss(outputs, np.exp(likelihood.log_variance.numpy()), images)
    constants = 0.0 if likelihood.normalized else numpy_vae.gaussian_loss(outputs, 0.49, outputs)
    return numpy_vae.gaussian_loss(outputs, 0.49, images) - constants


@pytest.mark.parametrize(
    "make_likelihood",
    [
        lambda: None,
        lambda: GaussianLikelihood(0.7, dtype="float64"),
        lambda: GaussianLikelihood(0.7, normalized=False, dtype="float64"),
        lambda: GaussianLikelihood(0.7, "scalar", dtype="float64"),
        lambda: GaussianLikelihood(0.7, "per_pixel", dtype="float64"),
    ],
    ids=["Bernoulli", "Gaussian", "unnormalized", "learned sigma", "sigma per pixel"],
)
def test_objective(make_likelihood):
    model, images = make_vae(make_likelihood()), numpy_vae.images(5)
    mean, log_variance, _, outputs = numpy_vae.forward(model, images, numpy_vae.noise(STEP, (5, 3)))
    terms = terms_of(model, images)
    assert list(terms) == ["reconstruction_loss", "kl"]
    expected = negative_log_likelihood(model, outputs, images)
    np.testing.assert_allclose(terms["reconstruction_loss"].value, expected, rtol=1e-10)
    np.testing.assert_allclose(terms["kl"].value, numpy_vae.kl(mean, log_variance), rtol=1e-10)
    assert terms["reconstruction_loss"].weight == terms["kl"].weight == 1.0


def test_the_kl_weight_follows_its_schedule():
    model = make_vae(kl_weight=LinearSchedule(0.0, 0.5, 20))
    weights = [float(terms_of(model, numpy_vae.images(2), step)["kl"].weight) for step in (0, 5, 20, 30)]
    np.testing.assert_allclose(weights, [0.0, 0.125, 0.5, 0.5], rtol=1e-6)


def test_forward_gives_what_the_twin_gives():
    model, images = make_vae(), numpy_vae.images(5)
    with random.keyed(0, "train", STEP):
        forward = model.forward(tf.constant(images))
    mean, log_variance, latents, outputs = numpy_vae.forward(model, images, numpy_vae.noise(STEP, (5, 3)))
    np.testing.assert_allclose(forward.posterior.mean, mean, rtol=1e-10)
    np.testing.assert_allclose(forward.posterior.log_variance, log_variance, rtol=1e-10)
    np.testing.assert_allclose(forward.latents, latents, rtol=1e-10)
    np.testing.assert_allclose(forward.reconstruction.mean, numpy_vae.sigmoid(outputs), rtol=1e-10)
    assert forward.block_losses == []


def test_predict_reconstructs_from_the_posterior_mean():
    model, images = make_vae(), numpy_vae.images(5)
    *_, outputs = numpy_vae.forward(model, images, np.zeros((5, 3)))
    predicted = model.predict(images, batch_size=2, verbose=0)
    np.testing.assert_allclose(predicted, numpy_vae.sigmoid(outputs), rtol=1e-5)


def test_sample_decodes_draws_from_the_prior():
    model = make_vae()
    with random.keyed(0, "sample", 0):
        samples = model.sample(4)
    with random.keyed(0, "sample", 0):
        latents = random.normal((4, 3), "float64")
    np.testing.assert_allclose(samples, model.decode(latents).mean, rtol=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("batch_size", [2, 3, 5])
def test_evaluate_averages_over_examples_not_batches(monkeypatch, batch_size):
    numpy_vae.silence(monkeypatch)
    model, images = make_vae(kl_weight=0.3), numpy_vae.images(5)
    images[-1] = 1.0  # So that the last, smaller batch is unlike the others.
    mean, log_variance, _, outputs = numpy_vae.forward(model, images, np.zeros((5, 3)))
    reconstruction = numpy_vae.bernoulli_loss(outputs, images).mean()
    kl = numpy_vae.kl(mean, log_variance).mean()
    model.compile(optimizer="sgd")
    results = model.evaluate(images, batch_size=batch_size, verbose=0, return_dict=True)
    expected = {"loss": reconstruction + 0.3 * kl, "reconstruction_loss": reconstruction, "kl": kl}
    assert results == pytest.approx(expected, rel=1e-5)
    # A second call starts from nothing.
    assert model.evaluate(images, batch_size=batch_size, verbose=0, return_dict=True) == results


@pytest.mark.slow
def test_fit_takes_the_step_of_the_gradient(monkeypatch):
    """By finite differences of the twin's loss."""
    numpy_vae.silence(monkeypatch)
    model, images = make_vae(kl_weight=0.3), numpy_vae.images(5).astype(np.float32)

    def loss():
        mean, log_variance, _, outputs = numpy_vae.forward(model, images, np.zeros((5, 3)))
        return np.mean(numpy_vae.bernoulli_loss(outputs, images) + 0.3 * numpy_vae.kl(mean, log_variance))

    biases = [
        model.encoder.blocks[1].bias,
        model.posterior.log_variance.bias,
        model.decoder.output_layer.bias,
    ]
    before, slopes = [bias.numpy() for bias in biases], []
    for bias, value in zip(biases, before):
        at = []
        for shift in (1e-5, -1e-5):
            bias.assign(value + shift * np.eye(len(value))[0])
            at.append(loss())
        bias.assign(value)
        slopes.append((at[0] - at[1]) / 2e-5)
    model.compile(optimizer=keras.optimizers.SGD(0.01))
    model.fit(images, batch_size=5, verbose=0)
    for bias, value, slope in zip(biases, before, slopes):
        assert bias.numpy()[0] - value[0] == pytest.approx(-0.01 * slope, rel=1e-5, abs=1e-12)


@pytest.mark.families
def test_a_model_is_built_by_its_first_images():
    model = VAE(num_latents=3, **numpy_vae.blocks())
    posterior = model.encode(numpy_vae.images(2).astype(np.float32))
    assert posterior.mean.shape == (2, 3)
    assert model.built
    # Inside a function too, where its variables must outlive the trace.
    other = VAE(num_latents=3, **numpy_vae.blocks())
    tf.function(lambda images: other.encode(images).mean)(tf.zeros((2, 4, 3, 2)))
    assert other.decode(tf.zeros((2, 3))).mean.shape == (2, 4, 3, 2)


def test_the_decoder_makes_as_many_channels_as_the_likelihood_reads():
    model = VAE(num_latents=3, likelihood=GaussianLikelihood(learned="per_pixel"), **numpy_vae.blocks())
    model.build((None, 4, 3, 2))
    assert model.decoder.target_shape == (4, 3, 4)
    assert model(np.zeros((1, 4, 3, 2))).shape == (1, 4, 3, 2)


@pytest.mark.parametrize("learned", ["no", "scalar", "per_pixel"])
def test_likelihoods_are_saved_with_the_model(learned, tmp_path):
    model = VAE(num_latents=3, likelihood=GaussianLikelihood(0.7, learned), **numpy_vae.blocks())
    model.build((None, 4, 3, 2))
    if learned == "scalar":
        model.likelihood.log_variance.assign(-1.5)
    images = numpy_vae.images(2).astype(np.float32)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(
        again.decode(again.encode(images).mean).log_prob(images),
        model.decode(model.encode(images).mean).log_prob(images),
    )


@pytest.mark.parametrize("method", ["sample", "decode"])
def test_a_model_that_is_not_built_says_what_to_do(method):
    with pytest.raises(ConfigurationError, match=rf"`VAE\.{method}` needs a model that knows .* call build"):
        getattr(VAE(num_latents=2), method)(tf.zeros([1, 2]))


@pytest.mark.parametrize(
    ("shape", "message"), [((2, 8, 8), "add a channel axis"), ((2, 8, 8, 3), r"got \[B, 8, 8, 3\]")]
)
def test_images_of_another_shape_are_refused_once_it_is_built(shape, message):
    model = VAE(num_latents=2)
    model.build((None, 8, 8, 1))
    with pytest.raises(
        ConfigurationError, match=rf"built for images of the shape \[B, 8, 8, 1\], .*{message}"
    ):
        model.encode(tf.zeros(shape))


@pytest.mark.parametrize(
    "variant",
    [AdversarialAutoencoder, BetaTCVAE, DIPVAE, FactorVAE, InfoVAE, SWAE, WAE],
    ids=lambda it: it.__name__,
)
def test_an_objective_of_vectors_refuses_maps_of_latents(variant):
    model = variant(
        num_latents=3,
        encoder=ConvMapEncoder(filters=(4,)),
        decoder=ConvMapDecoder(filters=(4,)),
        posterior=GaussianMapPosterior(),
    )
    message = r"takes latents \[B, D\], and those of GaussianMapPosterior are \[B, 4, 4, 3\]; choose another"
    with pytest.raises(ConfigurationError, match=f"^{variant.__name__} {message}"):
        model.build((None, 8, 8, 1))


def test_a_vae_of_latents_draws_from_its_gaussian_of_a_learned_variance():
    model = make_vae(takes="latents")
    assert model.likelihood.learned == "scalar"
    with random.keyed(0, "test", 0):
        latents, noise = (random.normal((5, *shape), "float64").numpy() for shape in ((3,), (4, 3, 2)))
    *_, w, b, w_output, b_output = (np.asarray(value) for value in numpy_vae.weights(model))
    outputs = (np.maximum(latents @ w + b, 0) @ w_output + b_output).reshape(5, 4, 3, 2)
    with random.keyed(0, "test", 0):
        found = model.sample(5)
    deviation = np.exp(0.5 * model.likelihood.log_variance.numpy())
    assert deviation != 1
    np.testing.assert_allclose(found, outputs + deviation * noise, rtol=1e-10)
