"""DIPVAE against the NumPy oracle of Eq. 6 and 7 of arXiv:1711.00848.

pythae 0.1.2 has no such model to compare with.
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
from vaeflow.models import DIPVAE
from vaeflow.schedules import LinearSchedule

# Means that are uncorrelated and of variance 1.
SIGNS = np.array([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]], np.float64)


@pytest.fixture(params=["i", "ii"])
def variant(request):
    return request.param


def penalties(terms):
    names = ("off_diagonal_covariance", "diagonal_covariance")
    return [float(terms[name].value) for name in names], [float(terms[name].weight) for name in names]


@pytest.mark.slow
@pytest.mark.parametrize(
    "arguments", [{}, {"lambda_od": 3.0}, {"lambda_d": 4.0}, {"free_bits": 0.9}], ids=str
)
def test_objective(variant, arguments):
    model = make_model(DIPVAE, variant=variant, **arguments)
    parameters, _ = pass_through(model, images())
    expected, loss = numpy_objectives.dip_vae(*parameters, variant, **arguments)
    terms = terms_of(model, images())
    values, _ = penalties(terms)
    oracle = [expected["off_diagonal_penalty"], expected["diagonal_penalty"]]
    np.testing.assert_allclose(values, oracle, rtol=1e-10)
    assert loss_of(terms) == pytest.approx(loss, rel=1e-10)


def test_decorrelated_codes_of_variance_1_cost_nothing():
    one = make_model(DIPVAE, variant="i")
    values, _ = penalties(one.objective(forward_of(one, SIGNS + 5.0, np.full((4, 3), 3.0)), 0))
    np.testing.assert_allclose(values, [0.0, 0.0], atol=1e-24)
    # Type II counts the posteriors' own variance.
    other = make_model(DIPVAE, variant="ii")
    means, log_variance = SIGNS * np.sqrt(0.75), np.full((4, 3), np.log(0.25))
    values, _ = penalties(other.objective(forward_of(other, means, log_variance), 0))
    np.testing.assert_allclose(values, [0.0, 0.0], atol=1e-24)


def test_each_correlated_pair_counts_twice():
    model = make_model(DIPVAE)
    means = SIGNS.copy()
    means[:, 1] = means[:, 0]
    values, _ = penalties(model.objective(forward_of(model, means, np.zeros((4, 3))), 0))
    np.testing.assert_allclose(values, [2.0, 0.0], atol=1e-12)


def test_far_means_do_not_cancel():
    """In single precision, where E[m²] − E[m]² would lose everything."""
    model = DIPVAE(num_latents=3)
    model.build((None, 4, 3, 2))
    forward = forward_of(model, SIGNS + 4096.0, np.zeros((4, 3)), "float32")
    values, _ = penalties(model.objective(forward, 0))
    np.testing.assert_allclose(values, [0.0, 0.0], atol=1e-12)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"variant": "i", "lambda_od": 2.0}, [2.0, 20.0]),
        ({"variant": "ii", "lambda_od": 2.0}, [2.0, 2.0]),
        ({"variant": "i", "lambda_od": 2.0, "lambda_d": 3.0}, [2.0, 3.0]),
        ({"variant": "i", "lambda_od": LinearSchedule(0.0, 4.0, 14)}, [2.0, 20.0]),
        ({"variant": "i", "lambda_d": LinearSchedule(0.0, 4.0, 14)}, [10.0, 2.0]),
    ],
    ids=["I", "II", "both given", "a schedule of both", "a schedule"],
)
def test_weights(arguments, expected):
    _, weights = penalties(terms_of(make_model(DIPVAE, **arguments), images(), 7))
    np.testing.assert_allclose(weights, expected, rtol=1e-6)


@pytest.mark.slow
def test_two_replicas_share_one_covariance(monkeypatch, variant):
    model = make_model(DIPVAE, variant=variant)
    parts = terms_of_parts(monkeypatch, model, images())
    assert_parts_make_the_whole(parts, terms_of(model, images()))


@pytest.mark.slow
def test_a_replica_on_its_own(monkeypatch, variant):
    model = make_model(DIPVAE, variant=variant, scope="replica")
    for part, rows in zip(terms_of_parts(monkeypatch, model, images()), (slice(0, 3), slice(3, 6))):
        parameters, _ = pass_through(model, images()[rows], first_position=rows.start)
        assert loss_of(part) == pytest.approx(numpy_objectives.dip_vae(*parameters, variant)[1], rel=1e-10)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"variant": "I"}, "`DIPVAE.variant` must be one of 'i', 'ii'; got 'I'"),
        ({"lambda_od": -1.0}, "`DIPVAE.lambda_od` must be a number of at least 0, got -1.0"),
        ({"lambda_d": "10"}, "`DIPVAE.lambda_d` must be a number of at least 0, got '10'"),
    ],
)
def test_faulty_settings_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        DIPVAE(**arguments)


@pytest.mark.slow
def test_settings_come_back(tmp_path):
    make_model(DIPVAE, variant="ii", lambda_od=LinearSchedule(0.0, 9.0, 10)).save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    assert again.variant == "ii"
    assert again.lambda_d is None
    assert float(again.lambda_od(10)) == 9.0


@pytest.mark.slow
def test_one_example_is_refused():
    with pytest.raises(ConfigurationError, match="needs at least 2 of them, got 1"):
        terms_of(make_model(DIPVAE), images(1))
