"""JointVAE: its objective against NumPy, its capacities, and the commands."""

import math

import keras
import numpy as np
import pytest

from tests.fixtures import numpy_categories, numpy_flows, numpy_vae, tiny_runs, trained_runs
from tests.fixtures.small_objectives import assert_parts_make_the_whole, terms_of, terms_of_parts
from vaeflow import random
from vaeflow.commands import command_line
from vaeflow.commands.programs import embed, evaluate, export, sample
from vaeflow.layers import GumbelSoftmaxPosterior
from vaeflow.models import JointVAE
from vaeflow.schedules import LinearSchedule

STEP = 7


def joint_vae(dtype=None, **arguments):
    posterior = GumbelSoftmaxPosterior(2, num_categories=3, temperature=0.8, dtype=dtype)
    return JointVAE(3, posterior, dtype=dtype, **numpy_vae.blocks(dtype=dtype), **arguments)


def made(**arguments):
    keras.utils.set_random_seed(0)
    model = joint_vae("float64", **arguments)
    model.build((None, 4, 3, 2))
    numpy_flows.perturb(model)
    return model


def test_the_objective_is_that_of_its_twin():
    """Eq. 7, with means over the batch inside of the absolute values."""
    model = made(gamma=20.0, max_capacity=4.0, max_discrete_capacity=1.5, capacity_steps=10)
    images = numpy_vae.images(5)
    terms = terms_of(model, images)
    encoded = numpy_categories.features(model, images)
    mean, log_variance = (
        numpy_flows.affine(layer, encoded) for layer in (model.posterior.mean, model.posterior.log_variance)
    )
    logits = numpy_categories.logits(model, model.discrete_posterior, images)
    noise = numpy_categories.gumbel_noise(logits.shape, num_draws_before=[(5, 3)])
    z = mean + np.exp(0.5 * log_variance) * numpy_vae.noise(STEP, (5, 3))
    c = numpy_categories.relaxed(logits, noise, 0.8).reshape(5, -1)
    loss = numpy_categories.reconstruction_loss(model, np.concatenate([z, c], axis=1), images).mean()
    kl_z = numpy_vae.kl(mean, log_variance).mean()
    kl_c = numpy_categories.kl_to_uniform(logits).sum(axis=1).mean()
    expected = loss + 20 * abs(kl_z - 4.0 * STEP / 10) + 20 * abs(kl_c - 1.5 * STEP / 10)
    found = sum(float(term.weight) * np.mean(term.value) for term in terms.values())
    assert found == pytest.approx(expected, rel=1e-10)
    assert np.mean(terms["continuous_kl"].value) == pytest.approx(kl_z, rel=1e-10)
    assert np.mean(terms["discrete_kl"].value) == pytest.approx(kl_c, rel=1e-10)


@pytest.mark.parametrize(("step", "expected"), [(0, (0, 0)), (5, (2, 1.5)), (40, (4, 2 * math.log(3)))])
def test_capacities_grow_linearly_and_the_discrete_one_ends_at_the_largest_kl(step, expected):
    model = made(max_capacity=4.0, max_discrete_capacity=3.0, capacity_steps=10)
    capacities = model.capacities(step, "float64")
    assert (float(capacities["z"]), float(capacities["c"])) == pytest.approx(expected)


def test_replicas_see_the_mean_of_the_global_batch(monkeypatch):
    model, images = made(), numpy_vae.images(6)
    parts = terms_of_parts(monkeypatch, model, images)
    assert_parts_make_the_whole(parts, terms_of(model, images))


def test_a_latent_that_is_not_given_is_drawn():
    model = made()
    with random.keyed(0, "sample", 0):
        images = model.decode({"z": np.zeros((4, 3))}).mean
    assert images.shape == (4, 4, 3, 2)
    given = model.decode({"z": np.zeros((9, 3)), "c": np.tile(np.eye(3)[[0, 1, 2]], (3, 2))}).mean
    assert len(np.unique(np.round(given, 9), axis=0)) == 3


def test_one_variable_of_ten_categories_is_the_default():
    model = JointVAE(3)
    assert model.discrete_posterior.code_sizes == (10,)
    assert JointVAE(3, GumbelSoftmaxPosterior(num_categories=4)).discrete_posterior.code_sizes == (4,)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"gamma": -1.0}, "`JointVAE.gamma` must be"),
        ({"max_capacity": -1.0}, "`JointVAE.max_capacity` must be"),
        ({"max_discrete_capacity": -1.0}, "`JointVAE.max_discrete_capacity` must be"),
        ({"capacity_steps": 0}, "`JointVAE.capacity_steps` must be"),
        ({"discrete_posterior": 3}, "`JointVAE.discrete_posterior` must be a Keras layer"),
        ({"kl_weight": LinearSchedule()}, "`JointVAE.kl_weight` must be left at 1.0"),
    ],
)
def test_a_faulty_setting_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        JointVAE(3, **arguments)


@pytest.mark.matrix
@pytest.mark.slow
@pytest.mark.processes
def test_every_command_takes_it(tmp_path):
    workdir = trained_runs.trained_folder(tmp_path, "JointVAE.capacity_steps = 10", model="JointVAE")
    for program in (evaluate, sample, embed, export):
        with tiny_runs.configuration_of_its_own():
            assert command_line.main(program.COMMAND, [f"--workdir={workdir}"]) == 0, program.__name__
