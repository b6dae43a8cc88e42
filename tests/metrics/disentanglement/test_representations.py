"""What a score reads, in both protocols: who shares a factor with whom, and what is encoded."""

import numpy as np
import pytest

from tests.fixtures import factor_codes
from vaeflow.errors import ConfigurationError, DataError, TrainingDiverged
from vaeflow.metrics.disentanglement import FactorGrid


def as_codes(factors):
    return factors.astype(np.float64)


def made(protocol, num_points=200):
    """Representations whose codes are the factors."""
    if protocol == "published":
        return factor_codes.fresh(as_codes, num_points)
    factors = factor_codes.random_factors(num_points)
    return factor_codes.pool(as_codes(factors), factors)


both_protocols = pytest.mark.parametrize("protocol", ["pool", "published"])


@both_protocols
def test_the_images_of_a_batch_share_the_value_of_its_factor_alone(protocol):
    fixed = np.array([2, 0, 0, 1] * 10)
    batches = made(protocol).batch(np.random.default_rng(0), (40, 64), fixed)
    assert batches.shape == (40, 64, 3)
    spread = batches.std(axis=1) > 0
    np.testing.assert_array_equal(spread, np.arange(3) != fixed[:, None])


@both_protocols
def test_each_value_of_the_factor_is_met(protocol):
    batches = made(protocol).batch(np.random.default_rng(0), (200, 2), np.full(200, 1))
    assert np.unique(batches[:, 0, 1]).tolist() == [0, 1, 2, 3]


@both_protocols
def test_a_single_batch_is_one_of_many(protocol):
    batch = made(protocol).batch(np.random.default_rng(0), 30, 2)
    assert batch.shape == (30, 3)
    assert (batch.std(axis=0) > 0).tolist() == [True, True, False]


@both_protocols
def test_a_batch_without_a_factor_is_random(protocol):
    batch = made(protocol).batch(np.random.default_rng(0), 100)
    assert (batch.std(axis=0) > 0).all()


@both_protocols
def test_a_pair_shares_a_value_and_other_pairs_of_the_batch_share_others(protocol):
    fixed = np.array([0, 1, 2])
    one, other = made(protocol).pairs(np.random.default_rng(0), (3, 100), fixed)
    for batch, factor in enumerate(fixed):
        np.testing.assert_array_equal(one[batch, :, factor], other[batch, :, factor])
        assert len(np.unique(one[batch, :, factor])) == factor_codes.SIZES[factor]
        assert (np.delete(one - other, factor, axis=2)[batch].std(axis=0) > 0).all()


def test_the_images_of_a_pair_are_different():
    """In the pool: one image of each value twice, and one alone, which is in no pair."""
    factors = np.array([[0], [0], [1], [1], [2]])
    pool = factor_codes.pool(np.arange(5.0)[:, None], factors, (3,))
    one, other = pool.pairs(np.random.default_rng(0), (1, 100), np.array([0]))
    partner = {0: 1, 1: 0, 2: 3, 3: 2}
    assert other.ravel().tolist() == [partner[number] for number in one.ravel()]


def test_few_images_with_a_value_make_a_batch_of_any_size():
    factors = np.array([[0], [0], [1], [1], [2]])
    pool = factor_codes.pool(np.arange(5.0)[:, None], factors, (3,))
    batches = pool.batch(np.random.default_rng(0), (20, 64), np.zeros(20, int))
    assert {tuple(np.unique(batch)) for batch in batches} == {(0, 1), (2, 3)}


def test_a_factor_that_no_two_images_share_a_value_of_has_no_batches():
    factors = np.arange(6)[:, None]
    pool = factor_codes.pool(as_codes(factors), factors, (6,))
    with pytest.raises(ConfigurationError, match=r"no two of the 6 images share .* the factor 'shape'"):
        pool.batch(np.random.default_rng(0), 4, 0)


def test_a_factor_with_one_value_is_left_out():
    factors = factor_codes.random_factors(50)
    factors[:, 1] = 2
    pool = factor_codes.pool(as_codes(factors), factors)
    assert pool.left_out == ("scale",)
    assert pool.factor_names == ("shape", "place")
    assert pool.factor_sizes == (3, 5)
    np.testing.assert_array_equal(pool.factors, factors[:, [0, 2]])
    batch = pool.batch(np.random.default_rng(0), 50, 1)
    assert batch[:, 2].std() == 0


def test_a_factor_with_one_value_stays_in_the_grid():
    fresh = factor_codes.fresh(as_codes, 60, (3, 1, 5))
    assert fresh.left_out == ("scale",)
    assert fresh.batch(np.random.default_rng(0), 50, 1)[:, 2].std() == 0


def test_without_any_information_there_is_no_score():
    with pytest.raises(ConfigurationError, match="two values or more among the 4 images, and shape has one"):
        factor_codes.pool(np.ones((4, 2)), np.ones((4, 1), int), (2,))


def test_latents_that_are_not_finite_are_refused():
    factors = factor_codes.random_factors(4)
    with pytest.raises(TrainingDiverged, match="latents that are not finite"):
        factor_codes.pool(np.full((4, 2), np.nan), factors)


def test_a_third_of_the_pool_tests_a_predictor():
    factors = factor_codes.random_factors(30)
    pool = factor_codes.pool(np.arange(30.0)[:, None], factors)
    (train, of_train), (test, of_test) = pool.train_and_test(np.random.default_rng(0))
    assert (len(train), len(test)) == (20, 10)
    chosen = np.concatenate([train, test]).ravel().astype(int)
    assert sorted(chosen) == list(range(30))
    np.testing.assert_array_equal(np.concatenate([of_train, of_test]), factors[chosen])


def test_fresh_images_test_a_predictor():
    fresh = factor_codes.fresh(as_codes, 40)
    (train, of_train), (test, of_test) = fresh.train_and_test(np.random.default_rng(0))
    assert (len(train), len(test)) == (40, 20)
    np.testing.assert_array_equal(train, of_train)
    np.testing.assert_array_equal(test, of_test)


def test_the_codes_of_fresh_images_are_those_of_their_factors():
    fresh = factor_codes.fresh(as_codes, 300)
    np.testing.assert_array_equal(fresh.codes, fresh.factors)
    # 300 draws of 60 images; each value of three is met by 100, with a standard deviation of 8.
    assert np.abs(np.bincount(fresh.factors[:, 0]) - 100).max() < 35


def test_each_fresh_image_is_encoded_once():
    noted = []
    fresh = factor_codes.fresh(as_codes, 20, noted=noted)
    rng = np.random.default_rng(1)
    for _ in range(3):
        fresh.batch(rng, (10, 20), np.zeros(10, int))
    numbers = np.concatenate(noted)
    assert len(numbers) == len(set(numbers)) == 60


@pytest.mark.parametrize("factors", [np.array([[0, 0], [0, 1], [1, 0]]), np.array([[0], [0], [1], [1]])])
def test_a_grid_has_one_image_for_each_combination(factors):
    with pytest.raises(DataError, match=r"x must return an image for each of the .* combinations"):
        FactorGrid(factors, "x")


def test_a_grid_may_be_in_any_order_and_leave_values_out():
    factors = np.array([[3, 1], [5, 0], [3, 0], [5, 1]])
    grid = FactorGrid(factors, "x")
    points = np.array([[0, 0], [0, 1], [1, 0], [1, 1]])
    assert grid.images(points).tolist() == [2, 0, 1, 3]
    assert grid.labels(points).tolist() == [[3, 0], [3, 1], [5, 0], [5, 1]]
