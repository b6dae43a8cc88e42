"""Ada-GVAE against its twin in NumPy, pair by pair."""

import numpy as np
import pytest
import tensorflow as tf

from tests.fixtures import numpy_vae
from tests.fixtures.small_objectives import NUM_LATENTS, STEP, images, make_model
from vaeflow import random
from vaeflow.errors import ConfigurationError
from vaeflow.layers import DeterministicPosterior, IAFPosterior
from vaeflow.models import VAE, AdaGVAE


def terms_of(model, examples, training=True):
    with random.keyed(0, "train", STEP):
        return model.objective(model.forward(tf.constant(examples), STEP, training=training), STEP)


def averaged(one, other):
    """The means and variances of a pair, of which each is `(mean, variance)`; arXiv:2002.02886, section 4."""
    (m1, v1), (m2, v2) = one, other
    divergence = 0.5 * (v1 / v2 + (m2 - m1) ** 2 / v2 - 1 + np.log(v2 / v1))
    shared = divergence < 0.5 * (divergence.max() + divergence.min())
    return [(np.where(shared, (m1 + m2) / 2, m), np.where(shared, (v1 + v2) / 2, v)) for m, v in (one, other)]


def twin(model, firsts, seconds):
    """The means over each pair of −log p(x|z) and of the KL."""
    both = np.stack([firsts, seconds], axis=1).reshape(-1, *firsts.shape[1:])
    noise = numpy_vae.noise(STEP, (len(both), NUM_LATENTS))
    mean, log_variance, *_ = numpy_vae.forward(model, both, noise)
    w = [np.asarray(value) for value in numpy_vae.weights(model)]
    losses, kls = np.zeros(len(firsts)), np.zeros(len(firsts))
    for pair in range(len(firsts)):
        rows = 2 * pair, 2 * pair + 1
        for row, (m, v) in zip(
            rows, averaged(*((mean[r], np.exp(log_variance[r])) for r in rows)), strict=True
        ):
            latents = m + np.sqrt(v) * noise[row]
            outputs = np.maximum(latents @ w[6] + w[7], 0) @ w[8] + w[9]
            losses[pair] += (
                0.5 * numpy_vae.bernoulli_loss(outputs.reshape(1, 4, 3, 2), both[row : row + 1])[0]
            )
            kls[pair] += 0.5 * numpy_vae.kl(m[None], np.log(v)[None])[0]
    return losses, kls


def test_the_objective_is_that_of_its_twin():
    model = make_model(AdaGVAE, kl_weight=3.0)
    firsts, seconds = images(), numpy_vae.images(len(images()), seed=1)
    losses, kls = twin(model, firsts, seconds)
    terms = terms_of(model, np.concatenate([firsts, seconds], axis=3))
    np.testing.assert_allclose(terms["reconstruction_loss"].value, losses, rtol=1e-10)
    np.testing.assert_allclose(terms["kl"].value, kls, rtol=1e-10)
    assert float(terms["kl"].weight) == 3.0


@pytest.mark.families
def test_some_dimensions_are_shared_and_others_are_not():
    model = make_model(AdaGVAE)
    pair = np.concatenate([images(), numpy_vae.images(len(images()), seed=1)], axis=3)
    with random.keyed(0, "train", STEP):
        mean = model.forward(tf.constant(pair), training=True).posterior.mean.numpy()
    shared = mean[0::2] == mean[1::2]
    assert np.all(shared.any(axis=1))
    assert not np.any(shared.all(axis=1))


@pytest.mark.families
def test_outside_of_training_it_is_a_vae():
    model, vae = make_model(AdaGVAE), make_model(VAE)
    one, other = (terms_of(each, images(), training=False) for each in (model, vae))
    for name, term in other.items():
        np.testing.assert_array_equal(one[name].value, term.value)


@pytest.mark.families
def test_an_image_alone_is_paired_with_itself():
    model = make_model(AdaGVAE)
    doubled = np.concatenate([images(), images()], axis=3)
    one, other = (terms_of(model, examples) for examples in (images(), doubled))
    for name, term in other.items():
        np.testing.assert_array_equal(one[name].value, term.value)
    np.testing.assert_allclose(one["kl"].value, terms_of(make_model(VAE), images())["kl"].value, rtol=1e-12)


@pytest.mark.parametrize("posterior", [DeterministicPosterior, IAFPosterior])
def test_another_posterior_is_refused(posterior):
    with pytest.raises(
        ConfigurationError, match=f"`AdaGVAE.posterior` is a {posterior.__name__}; leave it out"
    ):
        AdaGVAE(posterior=posterior())
