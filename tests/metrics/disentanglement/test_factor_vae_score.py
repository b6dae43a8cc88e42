"""The score of the FactorVAE paper, against votes counted one by one."""

import collections

import numpy as np
import pytest

from tests.fixtures import factor_codes
from vaeflow.errors import ConfigurationError
from vaeflow.metrics.disentanglement import FactorVAEScore

FEW = {"num_train": 500, "num_test": 1000}


def score(representations, seed=0, **settings):
    return FactorVAEScore(**FEW | settings).measure(representations, seed)["factor_vae_score"]


def by_hand(codes, factors, batch_size):
    """The accuracy for the same images, with other draws."""
    rng = np.random.default_rng(99)

    def votes(count):
        for factor in rng.integers(factors.shape[1], size=count):
            value = factors[rng.integers(len(factors)), factor]
            batch = codes[rng.choice(np.flatnonzero(factors[:, factor] == value), batch_size)]
            normalized = np.var(batch / np.std(codes, axis=0), axis=0)
            yield int(np.argmin(normalized)), int(factor)

    counted = collections.Counter(votes(FEW["num_train"]))
    latents, num_factors = range(codes.shape[1]), factors.shape[1]
    majority = [max(range(num_factors), key=lambda k: counted[latent, k]) for latent in latents]
    return np.mean([majority[latent] == factor for latent, factor in votes(FEW["num_test"])])


def test_it_is_the_accuracy_of_the_paper():
    """Two estimates from 1,000 batches differ by less than 0.06 in 999 of 1,000 cases."""
    factors = factor_codes.random_factors(300)
    codes = factor_codes.noisy(factors @ np.array([[1, 0.4, 0], [0, 0.7, 0.5], [0.5, 0, 0.9]]), 0.5)
    found = score(factor_codes.pool(codes, factors), batch_size=16)
    assert 0.42 < found < 0.95
    assert found == pytest.approx(by_hand(codes, factors, 16), abs=0.06)


@pytest.mark.parametrize("protocol", ["pool", "published"])
def test_a_perfect_code_has_1(protocol):
    factors = factor_codes.random_factors(200)
    if protocol == "pool":
        assert score(factor_codes.pool(factor_codes.perfect(factors), factors)) == 1
    else:
        assert score(factor_codes.fresh(factor_codes.perfect, 100)) == 1


def test_a_code_that_is_turned_has_no_more_than_chance():
    factors = factor_codes.grid((4, 4))
    pool = factor_codes.pool(factor_codes.half_turned(factors), factors, (4, 4))
    assert score(pool) == pytest.approx(0.5, abs=0.06)


def test_a_collapsed_latent_does_not_vote():
    """It would vote for any factor: it differs in two images only, so most batches have no variance of it."""
    factors = factor_codes.random_factors(300)
    collapsed = (np.arange(300) % 150 == 0)[:, None]
    codes = np.concatenate([collapsed, factor_codes.noisy(factors, 0.3)], axis=1)
    pool = factor_codes.pool(codes, factors)
    assert 0.0025 < codes[:, 0].var() < 0.05  # The standard deviation is above 0.05.
    without = factor_codes.pool(codes[:, 1:], factors)
    assert score(pool) == score(without)
    assert score(pool, least_variance=1e-9) < score(without) - 0.2


def test_without_an_active_latent_there_is_nothing_to_vote_by():
    factors = factor_codes.random_factors(50)
    assert score(factor_codes.pool(0.01 * factors, factors)) == 0


def test_the_order_and_the_scale_of_the_latents_do_not_matter():
    factors = factor_codes.random_factors(200)
    codes = factor_codes.noisy(factors)
    one = score(factor_codes.pool(codes, factors), batch_size=8)
    assert score(factor_codes.pool(codes[:, [2, 0, 1]] * [3, -1, 2] + 1, factors), batch_size=8) == one


def test_the_seed_chooses_the_batches():
    factors = factor_codes.random_factors(200)
    pool = factor_codes.pool(factor_codes.noisy(factors), factors)
    assert score(pool, 1, batch_size=4) == score(pool, 1, batch_size=4)
    assert score(pool, 1, batch_size=4) != score(pool, 2, batch_size=4)


def test_one_factor_is_no_riddle():
    factors = factor_codes.random_factors(20, (3,))
    with pytest.raises(ConfigurationError, match=r"FactorVAEScore guesses which factor .* have one, 'shape'"):
        score(factor_codes.pool(factors.astype(float), factors, (3,)))


def test_one_image_has_no_variance():
    with pytest.raises(ValueError, match=r"`FactorVAEScore.batch_size` must be 2 or more, got 1"):
        FactorVAEScore(batch_size=1)


def test_other_settings_are_in_the_name():
    assert FactorVAEScore().conditions() == []
    assert FactorVAEScore(least_variance=0.01).conditions() == ["variance=0.01"]
