"""InfoVAE against the NumPy oracle of Eq. 6 of arXiv:1706.02262.

Compared once with pythae 0.1.2 (torch 2.13, float64, equal weights and draws): the loss and
the MMD of its INFOVAE_MMD are equal with both kernels at α = 0 and λ = 10 (3e-16 relative).
Its default λ of 0.001 gives the MMD the weight −0.999, which is refused here.
"""

import keras
import numpy as np
import pytest

from tests.fixtures import numpy_divergences, numpy_objectives
from tests.fixtures.small_objectives import (
    assert_parts_make_the_whole,
    draws,
    forward_of,
    images,
    loss_of,
    make_model,
    pass_through,
    terms_of,
    terms_of_parts,
)
from vaeflow import random
from vaeflow.errors import ConfigurationError
from vaeflow.models import VAE, InfoVAE
from vaeflow.schedules import LinearSchedule


@pytest.fixture(params=["imq", "rbf"])
def kernel(request):
    return request.param


@pytest.mark.parametrize("arguments", [{}, {"alpha": 0.3, "mmd_scale": 4.0}, {"free_bits": 0.9}], ids=str)
def test_objective(kernel, arguments):
    model = make_model(InfoVAE, kernel=kernel, **arguments)
    parameters, latents = pass_through(model, images())
    prior_samples = draws()[1]
    expected, loss = numpy_objectives.info_vae(
        *parameters, latents, prior_samples, kernel=kernel, **arguments
    )
    terms = terms_of(model, images())
    np.testing.assert_allclose(np.mean(terms["mmd"].value), expected["mmd"], rtol=1e-10)
    np.testing.assert_allclose(terms["kl"].value, expected["kl"], rtol=1e-10)
    assert loss_of(terms) == pytest.approx(loss, rel=1e-10)


@pytest.mark.slow
def test_alpha_0_and_lambda_1_is_the_vae():
    terms = terms_of(make_model(InfoVAE, alpha=0.0, mmd_scale=1.0), images())
    assert terms["mmd"].weight == 0.0
    assert loss_of(terms) == loss_of(terms_of(make_model(VAE), images()))


def test_prior_samples_are_not_the_noise_of_the_posterior():
    """With the same draws, posteriors that are the prior would look closer to it than they are."""
    noise, prior_samples = draws()
    assert np.abs(np.corrcoef(noise.ravel(), prior_samples.ravel())[0, 1]) < 0.6
    assert not np.any(noise == prior_samples)
    assert not np.array_equal(prior_samples, draws(step=8)[1])


@pytest.mark.families
def test_the_mmd_of_posteriors_that_are_the_prior_is_0_in_the_mean(kernel):
    model = make_model(InfoVAE, kernel=kernel)
    same, shifted = [], []
    for step in range(50):
        with random.keyed(0, "train", step):
            latents = random.normal((8, 3), "float64").numpy()
            for values, shift in ((same, 0.0), (shifted, 1.5)):
                forward = forward_of(model, latents + shift, np.zeros((8, 3)))
                values.append(np.mean(model.objective(forward, step)["mmd"].value))
    error = np.std(same) / np.sqrt(50)
    assert abs(np.mean(same)) < 3 * error
    assert np.mean(shifted) > 10 * error


def test_two_replicas_see_one_mmd(monkeypatch, kernel):
    model = make_model(InfoVAE, kernel=kernel)
    parts = terms_of_parts(monkeypatch, model, images())
    assert_parts_make_the_whole(parts, terms_of(model, images()))


def test_a_replica_on_its_own_draws_its_own_prior_samples(monkeypatch, kernel):
    model = make_model(InfoVAE, kernel=kernel, scope="replica")
    for part, rows in zip(terms_of_parts(monkeypatch, model, images()), (slice(0, 3), slice(3, 6))):
        _, latents = pass_through(model, images()[rows], first_position=rows.start)
        prior_samples = draws(3, first_position=rows.start, shared=False)[1]
        expected = numpy_divergences.mmd(latents, prior_samples, kernel)
        np.testing.assert_allclose(np.mean(part["mmd"].value), expected, rtol=1e-10)


def test_weights_follow_their_schedules():
    model = make_model(
        InfoVAE, alpha=0.5, mmd_scale=LinearSchedule(1.0, 5.0, 10), kl_weight=LinearSchedule(0.0, 1.0, 10)
    )
    terms = terms_of(model, images(), 5)
    assert float(terms["mmd"].weight) == pytest.approx(2.5)
    assert float(terms["kl"].weight) == pytest.approx(0.25)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"alpha": 1.5}, "`InfoVAE.alpha` must be a number of at most 1, got 1.5"),
        ({"alpha": None}, "`InfoVAE.alpha` must be a finite number, got None"),
        ({"alpha": float("nan")}, "`InfoVAE.alpha` must be a finite number, got nan"),
        ({"mmd_scale": 1e-3}, "weight of the MMD, .* must be at least 0, got -0.999, .* raise InfoVAE.mmd"),
        ({"alpha": -2.0, "mmd_scale": 2.5}, "must be at least 0, got -0.5, "),
        ({"mmd_scale": LinearSchedule(0.5, 10.0, 5)}, "must be at least 0, got -0.5, "),
        ({"mmd_scale": LinearSchedule(2.0, 0.25, 5)}, "must be at least 0, got -0.75, "),
        ({"mmd_scale": "10"}, "`InfoVAE.mmd_scale` must be a number of at least 0, got '10'"),
        ({"kernel": "laplace"}, "`InfoVAE.kernel` must be one of 'imq', 'rbf'; got 'laplace'"),
    ],
)
def test_faulty_settings_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        InfoVAE(**arguments)


def test_one_example_is_refused():
    with pytest.raises(ConfigurationError, match="needs at least 2 of them, got 1"):
        terms_of(make_model(InfoVAE), images(1))


def test_settings_come_back(tmp_path):
    make_model(InfoVAE, alpha=-0.5, mmd_scale=3.0, kernel="rbf").save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    assert (again.alpha, again.mmd_scale, again.kernel) == (-0.5, 3.0, "rbf")
