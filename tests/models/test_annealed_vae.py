"""AnnealedVAE against the NumPy oracle of Eq. 8 of arXiv:1804.03599.

Compared once with pythae 0.1.2 (torch 2.13, float64, equal weights and draws): its
DisentangledBetaVAE equals `per_example = True` at the same C (2e-16 relative), and
differs from the default by 6 to 15 %, for it takes the absolute value of each example. Its C
rises by epoch.
"""

import keras
import numpy as np
import pytest

from tests.fixtures import numpy_objectives
from tests.fixtures.small_objectives import (
    assert_parts_make_the_whole,
    forward_of,
    images,
    loss_of,
    make_model,
    pass_through,
    terms_of,
    terms_of_parts,
)
from vaeflow.errors import ConfigurationError
from vaeflow.models import AnnealedVAE
from vaeflow.schedules import LinearSchedule


def capacity_of(step):
    return numpy_objectives.capacity(step, maximum=3.0, threshold=100)


@pytest.mark.slow
@pytest.mark.parametrize("step", [0, 1, 30, 100, 250])
@pytest.mark.parametrize(
    "arguments", [{}, {"gamma": 7.0}, {"per_example": True}, {"free_bits": 0.9}], ids=lambda value: str(value)
)
def test_objective(step, arguments):
    model = make_model(AnnealedVAE, max_capacity=3.0, capacity_steps=100, **arguments)
    parameters, _ = pass_through(model, images(), step)
    expected, loss = numpy_objectives.annealed_vae(*parameters, capacity_of(step), **arguments)
    terms = terms_of(model, images(), step)
    for name, value in expected.items():
        np.testing.assert_allclose(terms[name].value, value, rtol=1e-10, err_msg=name)
    np.testing.assert_allclose(terms["capacity"].value, np.full(6, capacity_of(step)), rtol=1e-12)
    assert loss_of(terms) == pytest.approx(loss, rel=1e-10)


def test_only_the_gap_weighs():
    terms = terms_of(make_model(AnnealedVAE, free_bits=0.5), images())
    weights = {name: float(term.weight) for name, term in terms.items()}
    assert weights == {
        "reconstruction_loss": 1.0,
        "kl": 0.0,
        "free_bits": 0.0,
        "capacity_gap": 1000.0,
        "capacity": 0.0,
    }


@pytest.mark.slow
def test_a_capacity_that_is_the_kl_leaves_the_reconstruction():
    parameters, _ = pass_through(make_model(AnnealedVAE), images(), 20)
    kl = numpy_objectives.vae(*parameters)[0]["kl"]
    model = make_model(AnnealedVAE, max_capacity=kl.mean(), capacity_steps=10)
    assert loss_of(terms_of(model, images(), 20)) == pytest.approx(parameters[0].mean(), rel=1e-10)
    # Of each example it is not.
    model = make_model(AnnealedVAE, max_capacity=kl.mean(), capacity_steps=10, per_example=True)
    assert loss_of(terms_of(model, images(), 20)) > parameters[0].mean() + 1


def test_two_replicas_share_one_gap(monkeypatch):
    model = make_model(AnnealedVAE, free_bits=0.9)
    parts = terms_of_parts(monkeypatch, model, images())
    whole = terms_of(model, images())
    assert_parts_make_the_whole(parts, whole)
    assert whole["capacity_gap"].value.shape == ()


def test_a_replica_on_its_own(monkeypatch):
    model = make_model(AnnealedVAE, scope="replica")
    for part, rows in zip(terms_of_parts(monkeypatch, model, images()), (slice(0, 3), slice(3, 6))):
        gap = abs(part["kl"].value.numpy().mean() - float(part["capacity"].value[0]))
        assert float(part["capacity_gap"].value) == pytest.approx(gap, rel=1e-12)
        parameters, _ = pass_through(model, images()[rows], first_position=rows.start)
        np.testing.assert_allclose(part["reconstruction_loss"].value, parameters[0], rtol=1e-10)


def test_the_gap_of_each_example_couples_nothing():
    """So that such a model may accumulate gradients."""
    terms = terms_of(make_model(AnnealedVAE, per_example=True), images())
    assert all(term.value.shape == (6,) for term in terms.values())
    assert not AnnealedVAE.couples_examples


def test_the_gap_pulls_from_both_sides():
    model = make_model(AnnealedVAE, max_capacity=2.0, capacity_steps=1)
    for mean, expected in ((np.zeros((4, 3)), 2.0), (np.full((4, 3), 2.0), 4.0)):
        terms = model.objective(forward_of(model, mean, np.zeros((4, 3))), 5)
        assert float(terms["capacity_gap"].value) == pytest.approx(expected, rel=1e-12)


def test_gamma_and_the_kl_weight_may_be_schedules():
    model = make_model(
        AnnealedVAE, gamma=LinearSchedule(0.0, 100.0, 10), kl_weight=LinearSchedule(0.0, 1.0, 20)
    )
    weights = [float(terms_of(model, images(), step)["capacity_gap"].weight) for step in (0, 5, 40)]
    np.testing.assert_allclose(weights, [0.0, 12.5, 100.0], rtol=1e-6)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"gamma": -1.0}, "`AnnealedVAE.gamma` must be a number of at least 0, got -1.0"),
        ({"max_capacity": -1}, "`AnnealedVAE.max_capacity` must be a number of at least 0, got -1"),
        ({"capacity_steps": 0}, "`AnnealedVAE.capacity_steps` must be a positive integer, got 0"),
        ({"per_example": "no"}, "`AnnealedVAE.per_example` must be True or False, got 'no'"),
    ],
)
def test_faulty_settings_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        AnnealedVAE(**arguments)


def test_free_bits_of_each_example_are_refused():
    with pytest.raises(ConfigurationError, match=r"no meaning for each example, got 0.5 with.*set one"):
        AnnealedVAE(per_example=True, free_bits=0.5)


def test_settings_come_back(tmp_path):
    make_model(AnnealedVAE, gamma=LinearSchedule(0.0, 9.0, 10), max_capacity=5.0).save(
        tmp_path / "model.keras"
    )
    again = keras.saving.load_model(tmp_path / "model.keras")
    assert again.max_capacity == 5.0
    assert float(again.gamma(10)) == 9.0


def test_one_example_is_refused():
    with pytest.raises(ConfigurationError, match="needs at least 2 of them, got 1"):
        terms_of(make_model(AnnealedVAE), images(1))
