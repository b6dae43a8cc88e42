"""Each likelihood in a VAE: it trains, in every precision, and keeps what training relies on."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from vaeflow import random, testing
from vaeflow.layers import (
    CategoricalLikelihood,
    ContinuousBernoulliLikelihood,
    ConvMapDecoder,
    ConvMapEncoder,
    DenseDecoder,
    DenseEncoder,
    LogisticMixtureLikelihood,
    NegativeBinomialLikelihood,
    PoissonLikelihood,
    StudentTLikelihood,
)
from vaeflow.models import VAE, LadderVAE

SHAPE = (4, 3, 2)
MAKERS = {
    "categorical": CategoricalLikelihood,
    "continuous Bernoulli": ContinuousBernoulliLikelihood,
    "logistic mixture": lambda: LogisticMixtureLikelihood(3),
    "negative binomial": lambda: NegativeBinomialLikelihood(learned="per_pixel"),
    "negative binomial, one dispersion": NegativeBinomialLikelihood,
    "Poisson": PoissonLikelihood,
    "Student-t": lambda: StudentTLikelihood(0.3, learned="per_pixel"),
    "Student-t, one scale": lambda: StudentTLikelihood(learned="scalar"),
}


# Of those that learn one scale for all pixels, the others stand for them in the default suite.
FEWER = [pytest.param(name, marks=[pytest.mark.families] if ", one" in name else []) for name in MAKERS]


def maker(name):
    """Makes a tiny dense VAE."""
    return lambda: VAE(2, DenseEncoder((8,)), DenseDecoder((8,)), MAKERS[name]())


def loss_of(model, images):
    with random.keyed(0, "train", 0):
        terms = model.objective(model.forward(images, training=True), 0)
    return sum(tf.reduce_mean(term.value) * term.weight for term in terms.values())


@pytest.mark.families
@pytest.mark.parametrize("name", FEWER)
def test_a_few_steps_lower_the_loss(name):
    keras.utils.set_random_seed(0)
    model = maker(name)()
    # Half of each image is dark, as counts often are.
    pixels = np.random.default_rng(0).integers(0, [[[[40]], [[40]], [[250]], [[250]]]], (16, *SHAPE))
    images = tf.constant(pixels / 255, tf.float32)
    model.build((None, *SHAPE))
    losses = []
    for _ in range(8):
        with tf.GradientTape() as tape:
            loss = loss_of(model, images)
        for variable, gradient in zip(
            model.trainable_variables, tape.gradient(loss, model.trainable_variables), strict=True
        ):
            variable.assign_sub(0.02 * tf.sign(gradient))  # The first step of Adam.
        losses.append(float(loss))
    assert losses == sorted(losses, reverse=True)
    assert losses[-1] < losses[0] - 1.0


def name_of(check):
    return check.__name__.removeprefix("check_")


# What a likelihood can break by itself; the rest of the contract is that of the model.
CHECKS = [testing.check_parts, testing.check_saving, testing.check_gradients]


@pytest.mark.slow
@pytest.mark.parametrize("name", FEWER)
def test_its_terms_in_each_precision(name):
    testing.check_terms(maker(name), SHAPE)


@pytest.mark.slow
@pytest.mark.families
@pytest.mark.parametrize("name", MAKERS)
@pytest.mark.parametrize("check", CHECKS, ids=name_of)
def test_more_checks(name, check):
    check(maker(name), SHAPE)


@pytest.mark.slow
@pytest.mark.families
@pytest.mark.parametrize("check", CHECKS, ids=name_of)
def test_a_ladder_of_convolutions_with_a_logistic_mixture(check):
    def make():
        blocks = {"encoder": ConvMapEncoder((4, 4)), "decoder": ConvMapDecoder((4, 4))}
        return LadderVAE(num_latents=2, likelihood=LogisticMixtureLikelihood(2), **blocks)

    check(make, (8, 8, 3))
