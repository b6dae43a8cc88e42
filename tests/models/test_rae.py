"""The RAE against its twin in NumPy, and its penalty against the decoder's Jacobian."""

import numpy as np
import pytest
import tensorflow as tf

from tests.fixtures import numpy_autoencoders
from tests.fixtures.small_objectives import BATCH_SIZE, images, loss_of, make_model, terms_of
from vaeflow import random
from vaeflow.layers import ConvDecoder
from vaeflow.models import RAE
from vaeflow.schedules import LinearSchedule


def noise(shape, step=7):
    """The first draw: the code draws none."""
    with random.keyed(0, "train", step):
        return random.normal(shape, "float64").numpy()


def test_the_objective_is_that_of_its_twin():
    model = make_model(RAE, latent_weight=0.3, gradient_penalty_weight=2.0, decoder_decay=0.05)
    costs, latents = numpy_autoencoders.pass_through(model, images())
    w = numpy_autoencoders.weights(model)
    jacobians = numpy_autoencoders.jacobians(w, latents)
    projected = np.einsum(
        "bpd,bp->bd", jacobians, noise((BATCH_SIZE, *images().shape[1:])).reshape(BATCH_SIZE, -1)
    )
    sizes, penalties = 0.5 * np.sum(latents**2, axis=1), np.sum(projected**2, axis=1)
    squares = sum(np.sum(value**2) for value in w[4:])
    terms = terms_of(model, images())
    np.testing.assert_allclose(terms["reconstruction_loss"].value, costs, rtol=1e-10)
    np.testing.assert_allclose(terms["latent_size"].value, sizes, rtol=1e-10)
    np.testing.assert_allclose(terms["gradient_penalty"].value, penalties, rtol=1e-10)
    expected = np.mean(costs + 0.3 * sizes + 2.0 * penalties) + 0.05 * squares
    assert loss_of(terms) == pytest.approx(expected, rel=1e-10)


def test_the_penalty_is_on_average_the_squared_norm_of_the_jacobian():
    """Of one image, over 4,000 draws: within 4 standard errors."""
    model = make_model(RAE, gradient_penalty_weight=1.0)
    many = np.repeat(images(1), 4000, axis=0)
    _, latents = numpy_autoencoders.pass_through(model, many[:1])
    norm = np.sum(numpy_autoencoders.jacobians(numpy_autoencoders.weights(model), latents) ** 2)
    found = terms_of(model, many)["gradient_penalty"].value.numpy()
    error = found.std() / np.sqrt(len(found))
    assert error < 0.03 * norm
    assert abs(found.mean() - norm) < 4 * error


def test_what_has_no_weight_is_no_term():
    assert terms_of(make_model(RAE), images()).keys() == {"reconstruction_loss", "latent_size"}


def test_the_weights_may_be_schedules():
    model = make_model(RAE, gradient_penalty_weight=LinearSchedule(0.0, 10.0, 10))
    assert float(terms_of(model, images(), 3)["gradient_penalty"].weight) == pytest.approx(3.0)


@pytest.mark.families
def test_the_penalty_trains_transposed_convolutions():
    """By differences, for these have a gradient of their own on a CPU."""
    model = RAE(
        3,
        decoder=ConvDecoder((2, 2), 4, 2, (5,), dtype="float64"),
        gradient_penalty_weight=1.0,
        dtype="float64",
    )
    model.build((None, 8, 8, 1))
    examples = np.random.default_rng(0).random((2, 8, 8, 1))
    kernel = model.decoder.last_kernel

    def penalty():
        return tf.reduce_sum(terms_of(model, examples)["gradient_penalty"].value)

    with tf.GradientTape() as tape:
        value = penalty()
    gradient = tape.gradient(value, kernel.value).numpy()
    start, moved = kernel.numpy(), []
    for sign in (1, -1):
        changed = start.copy()
        changed.flat[3] += sign * 1e-5
        kernel.assign(changed)
        moved.append(float(penalty()))
    assert abs(gradient.flat[3]) > 1e-6
    assert gradient.flat[3] == pytest.approx((moved[0] - moved[1]) / 2e-5, rel=1e-5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"latent_weight": -1.0}, "`RAE.latent_weight` must be a number of at least 0, got -1.0"),
        ({"gradient_penalty_weight": "1"}, "`RAE.gradient_penalty_weight` must be a number of at least 0"),
        ({"decoder_decay": None}, "`RAE.decoder_decay` must be a number of at least 0"),
        ({"kl_weight": 2.0}, "`RAE.kl_weight` must be left at 1.0, got 2.0: an RAE has no KL"),
    ],
)
def test_faulty_settings_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        RAE(**arguments)
