"""The beta-VAE: β times the KL of Higgins et al. 2017, Eq. 4."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.fixtures import numpy_vae
from vaeflow import random
from vaeflow.models import VAE, BetaVAE
from vaeflow.schedules import LinearSchedule


def make_beta_vae(**arguments):
    model = BetaVAE(num_latents=3, dtype="float64", **numpy_vae.blocks(dtype="float64"), **arguments)
    model.build((None, 4, 3, 2))
    return model


def loss_of(model, images, step):
    with random.keyed(0, "train", step):
        terms = model.objective(model.forward(tf.constant(images)), step)
    return sum(float(term.weight) * np.mean(term.value) for term in terms.values())


@pytest.mark.slow
@pytest.mark.parametrize("beta", [0.0, 0.25, 1, 4.0])
@pytest.mark.parametrize(("step", "warm_up"), [(0, 0.1), (5, 0.325), (20, 1.0), (50, 1.0)])
def test_loss(beta, step, warm_up):
    model, images = make_beta_vae(beta=beta, kl_weight=LinearSchedule(0.1, 1.0, 20)), numpy_vae.images(5)
    mean, log_variance, _, outputs = numpy_vae.forward(model, images, numpy_vae.noise(step, (5, 3)))
    expected = np.mean(
        numpy_vae.bernoulli_loss(outputs, images) + beta * warm_up * numpy_vae.kl(mean, log_variance)
    )
    assert loss_of(model, images, step) == pytest.approx(expected, rel=1e-6)


def test_beta_of_1_is_the_vae():
    model, images = make_beta_vae(beta=1.0), numpy_vae.images(5)
    vae = VAE(num_latents=3, dtype="float64", **numpy_vae.blocks(dtype="float64"))
    vae.build((None, 4, 3, 2))
    vae.set_weights(model.get_weights())
    assert loss_of(model, images, 3) == loss_of(vae, images, 3)


@pytest.mark.slow
def test_fit_reports_the_schedule_of_its_own_steps(monkeypatch):
    """The step of `fit` is the optimizer's: the second step has half of β."""
    numpy_vae.silence(monkeypatch)
    model, images = make_beta_vae(beta=4.0, kl_weight=LinearSchedule(0.0, 1.0, 2)), numpy_vae.images(4)
    model.compile(optimizer=keras.optimizers.SGD(0.0))
    history = model.fit(images, batch_size=4, epochs=4, verbose=0).history
    weights = (np.array(history["loss"]) - history["reconstruction_loss"]) / history["kl"]
    np.testing.assert_allclose(weights, [0.0, 2.0, 4.0, 4.0], atol=1e-4)


@pytest.mark.parametrize("beta", [-1.0, "4", None, float("nan")])
def test_a_faulty_beta_is_refused(beta):
    with pytest.raises(ValueError, match=r"`BetaVAE.beta` must be a number of at least 0, got"):
        BetaVAE(beta=beta)


def test_beta_and_the_schedule_come_back(tmp_path):
    model = make_beta_vae(beta=2.5, kl_weight=LinearSchedule(0.0, 1.0, 10))
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    assert again.beta == 2.5
    assert float(again.kl_weight_at(5)) == 1.25
