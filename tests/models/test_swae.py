"""The SWAE against a twin in NumPy, which solves the assignment of each projection."""

import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment

from tests.fixtures import numpy_autoencoders
from tests.fixtures.small_objectives import (
    BATCH_SIZE,
    NUM_LATENTS,
    STEP,
    assert_parts_make_the_whole,
    images,
    loss_of,
    make_model,
    terms_of,
    terms_of_parts,
)
from vaeflow import random
from vaeflow.models import SWAE


def draws(num_projections, shared=True, first_position=0, size=BATCH_SIZE):
    """The samples of the prior and the directions, in the order in which they are drawn."""
    with random.keyed(0, "train", STEP, first_position):
        shapes = (size, NUM_LATENTS), (num_projections, NUM_LATENTS)
        return [random.normal(shape, "float64", shared).numpy() for shape in shapes]


def distance(latents, samples, directions):
    """The mean of W₂² over the directions; the best assignment is searched for, not sorted."""
    found = []
    for direction in directions:
        one, other = (values @ (direction / np.linalg.norm(direction)) for values in (latents, samples))
        costs = (one[:, None] - other[None]) ** 2
        found.append(costs[linear_sum_assignment(costs)].mean())
    return np.mean(found)


def test_the_objective_is_that_of_its_twin():
    model = make_model(SWAE, distance_weight=3.0, num_projections=5)
    costs, latents = numpy_autoencoders.pass_through(model, images())
    expected = distance(latents, *draws(5))
    terms = terms_of(model, images())
    np.testing.assert_allclose(terms["reconstruction_loss"].value, costs, rtol=1e-10)
    assert float(terms["sliced_wasserstein"].value) == pytest.approx(expected, rel=1e-10)
    assert loss_of(terms) == pytest.approx(np.mean(costs) + 3.0 * expected, rel=1e-10)


def test_two_replicas_see_one_distance(monkeypatch):
    model = make_model(SWAE)
    assert_parts_make_the_whole(terms_of_parts(monkeypatch, model, images()), terms_of(model, images()))


def test_a_replica_on_its_own(monkeypatch):
    model = make_model(SWAE, scope="replica", num_projections=4)
    for part, rows in zip(terms_of_parts(monkeypatch, model, images()), (slice(0, 3), slice(3, 6))):
        _, latents = numpy_autoencoders.pass_through(model, images()[rows])
        expected = distance(latents, *draws(4, False, rows.start, 3))
        assert float(part["sliced_wasserstein"].value) == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"distance_weight": -1.0}, "`SWAE.distance_weight` must be a number of at least 0, got -1.0"),
        ({"num_projections": 0}, "`SWAE.num_projections` must be a positive integer, got 0"),
        ({"free_bits": 0.1}, "`SWAE.free_bits` must be left at 0.0, got 0.1: an SWAE has no KL"),
    ],
)
def test_faulty_settings_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        SWAE(**arguments)
