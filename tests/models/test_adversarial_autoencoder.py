"""The adversarial autoencoder against its twin in NumPy, and which of its losses moves what."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.fixtures import numpy_autoencoders
from tests.fixtures.numpy_divergences import discriminator_logits
from tests.fixtures.small_objectives import BATCH_SIZE, NUM_LATENTS, STEP, images, make_model, terms_of
from vaeflow import random
from vaeflow.models import AdversarialAutoencoder
from vaeflow.models.terms import losses_by_group
from vaeflow.optimizers import gradients_of


def made(**arguments):
    return make_model(AdversarialAutoencoder, discriminator_units=(7, 5), **arguments)


def test_the_objective_is_that_of_its_twin():
    model = made(adversarial_weight=0.7)
    costs, latents = numpy_autoencoders.pass_through(model, images())
    with random.keyed(0, "train", STEP):  # The first draw: the code draws none.
        wanted = random.normal((BATCH_SIZE, NUM_LATENTS), "float64").numpy()
    weights = [variable.numpy() for variable in model.discriminator.weights]
    layers = list(zip(weights[::2], weights[1::2]))
    of_wanted, of_latents = (1 / (1 + np.exp(-discriminator_logits(z, layers))) for z in (wanted, latents))
    terms = terms_of(model, images())
    # TensorFlow's leaky ReLU has a slope of 0.2 in float32.
    np.testing.assert_allclose(terms["reconstruction_loss"].value, costs, rtol=1e-10)
    np.testing.assert_allclose(terms["adversarial_loss"].value, -np.log(of_latents), rtol=1e-6)
    mistakes = -0.5 * (np.log(of_wanted) + np.log(1 - of_latents))
    np.testing.assert_allclose(terms["discriminator_loss"].value, mistakes, rtol=1e-6)
    assert terms["discriminator_loss"].group == "discriminator"
    assert float(terms["adversarial_loss"].weight) == 0.7


def test_an_image_is_compared_with_a_sample_of_its_own():
    """Of any part of the batch: no term couples images."""
    model, whole = made(), terms_of(made(), images())
    parts = [
        terms_of(model, images()[rows], first_position=rows.start) for rows in (slice(0, 2), slice(2, 6))
    ]
    for name, term in whole.items():
        values = np.concatenate([part[name].value for part in parts])
        np.testing.assert_allclose(values, term.value, rtol=1e-11)


def test_the_discriminator_moves_the_encoder_and_not_the_decoder():
    model = made()
    groups = model.all_parameter_groups(keras.optimizers.SGD(0.1))
    with tf.GradientTape(persistent=True) as tape:
        terms = terms_of(model, images())
        terms["reconstruction_loss"] = terms["reconstruction_loss"]._replace(weight=0.0)
        means = {name: tf.reduce_mean(term.value) for name, term in terms.items()}
        losses = losses_by_group(terms, means)
    own, of_discriminator = gradients_of(tape, losses, groups, {})
    moved = {id(variable) for variable, gradient in zip(groups[None].variables, own) if np.any(gradient)}
    expected = {
        id(variable) for block in (model.encoder, model.posterior) for variable in block.trainable_variables
    }
    assert moved == expected
    assert all(np.any(gradient) for gradient in of_discriminator)


def test_a_gaussian_encoder_logs_its_kl_without_weight():
    terms = terms_of(made(deterministic=False), images())
    assert terms["kl"].weight == 0.0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"adversarial_weight": -1.0},
            "AdversarialAutoencoder.adversarial_weight` must be a number of at least 0",
        ),
        ({"deterministic": 1}, "`AdversarialAutoencoder.deterministic` must be True or False, got 1"),
        ({"discriminator_units": 5}, "`AdversarialAutoencoder.discriminator_units` must be"),
        (
            {"discriminator_optimizer": "adam"},
            "`AdversarialAutoencoder.discriminator_optimizer` must be a Keras",
        ),
        ({"kl_weight": 0.0}, "must be left at 1.0, got 0.0: an adversarial autoencoder has no KL"),
    ],
)
def test_faulty_settings_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        AdversarialAutoencoder(**arguments)
