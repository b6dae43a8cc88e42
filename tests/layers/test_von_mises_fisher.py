"""The blocks of a hyperspherical VAE: what they compute, refuse, and keep of the contract of models."""

import numpy as np
import pytest
import tensorflow as tf

from tests.fixtures import numpy_vae
from vaeflow import random, testing
from vaeflow.errors import ConfigurationError
from vaeflow.layers import (
    DenseDecoder,
    DenseEncoder,
    StandardNormalPrior,
    UniformSpherePrior,
    VonMisesFisherPosterior,
)
from vaeflow.models import SWAE, VAE


def small(dtype=None):
    blocks = {"encoder": DenseEncoder((6,), dtype=dtype), "decoder": DenseDecoder((6,), dtype=dtype)}
    posterior, prior = VonMisesFisherPosterior(dtype=dtype), UniformSpherePrior()
    return VAE(3, posterior=posterior, prior=prior, dtype=dtype, **blocks)


@pytest.mark.matrix
@pytest.mark.parametrize("check", testing.CHECKS, ids=lambda check: check.__name__)
def test_contract(check):
    check(small, (8, 7, 2))


def test_the_direction_has_length_1_and_the_concentration_is_above_1():
    model, images = small("float64"), numpy_vae.images(4)
    with random.keyed(0, "test", 0):
        forward = model.forward(tf.constant(images))
    vector, raw = (np.asarray(each) for each in forward.evidence)
    lengths = np.linalg.norm(vector, axis=1, keepdims=True)
    np.testing.assert_allclose(forward.posterior.mean_direction, vector / lengths, rtol=1e-9)
    np.testing.assert_allclose(forward.posterior.concentration, np.log1p(np.exp(raw)) + 1, rtol=1e-12)
    assert forward.kl_of("z").shape == (4, 1)
    np.testing.assert_allclose(forward.log_prior, -np.log(4 * np.pi), rtol=1e-12)


@pytest.mark.families
def test_features_of_0_give_finite_gradients():
    model = small("float64")
    model.build((None, 4, 3, 2))
    model.posterior.direction.kernel.assign(tf.zeros_like(model.posterior.direction.kernel))
    with tf.GradientTape() as tape, random.keyed(0, "test", 0):
        terms = model.objective(model.forward(tf.constant(numpy_vae.images(4)), training=True), 0)
        loss = tf.add_n([tf.reduce_mean(term.value) for term in terms.values()])
    for gradient in tape.gradient(loss, model.trainable_variables):
        assert np.all(np.isfinite(gradient))


def test_a_sphere_and_all_vectors_are_not_mixed():
    images = numpy_vae.images(2)
    with pytest.raises(
        ConfigurationError, match=r"prior is a Gaussian; set the model's `prior` to @UniformSphere"
    ):
        _ = VAE(3, posterior=VonMisesFisherPosterior(), prior=StandardNormalPrior()).forward(images).kl
    with pytest.raises(
        ConfigurationError, match=r"the latents of GaussianPosterior lie anywhere; set .*Fisher"
    ):
        _ = VAE(3, prior=UniformSpherePrior()).forward(images).kl


@pytest.mark.families
def test_deterministic_latents_may_come_to_a_sphere():
    model = SWAE(num_latents=3, prior=UniformSpherePrior(), **numpy_vae.blocks())
    with random.keyed(0, "test", 0):
        terms = model.objective(model.forward(numpy_vae.images(4).astype(np.float32), training=True), 0)
    assert float(terms["sliced_wasserstein"].value) > 0


@pytest.mark.parametrize("block", [VonMisesFisherPosterior, UniformSpherePrior])
def test_one_latent_is_refused(block):
    made = block(1) if block is VonMisesFisherPosterior else block()
    with pytest.raises(ConfigurationError, match=f"{block.__name__} needs 2 latents or more"):
        made.build((None, 1))
