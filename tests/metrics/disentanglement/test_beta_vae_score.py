"""The score of the β-VAE paper, against pairs drawn one by one and a classifier that SciPy fits."""

import numpy as np
import pytest
from scipy import optimize, special

from tests.fixtures import factor_codes
from vaeflow.errors import ConfigurationError
from vaeflow.metrics.disentanglement import BetaVAEScore

FEW = {"num_train": 300, "num_test": 600}


def score(representations, seed=0, **settings):
    return BetaVAEScore(**FEW | settings).measure(representations, seed)["beta_vae_score"]


def by_hand(codes, factors, batch_size):
    """The accuracy for the same images, with other draws."""
    rng = np.random.default_rng(99)

    def batches(count):
        features, labels = [], rng.integers(factors.shape[1], size=count)
        for label in labels:
            pairs = []
            while len(pairs) < batch_size:
                one, other = rng.integers(len(codes), size=2)
                if one != other and factors[one, label] == factors[other, label]:
                    pairs.append(np.abs(codes[one] - codes[other]))
            features.append(np.mean(pairs, axis=0))
        return np.array(features), labels

    (train, labels), (test, wanted) = batches(FEW["num_train"]), batches(FEW["num_test"])
    num_classes, num_latents = factors.shape[1], codes.shape[1]

    def loss(solution):
        slopes = solution.reshape(num_latents + 1, num_classes)
        scores = train @ slopes[:-1] + slopes[-1]
        likelihood = special.log_softmax(scores, axis=1)[np.arange(len(labels)), labels]
        return 0.5 * np.sum(slopes[:-1] ** 2) - np.sum(likelihood)

    found = optimize.minimize(loss, np.zeros((num_latents + 1) * num_classes)).x.reshape(-1, num_classes)
    return np.mean(np.argmax(test @ found[:-1] + found[-1], axis=1) == wanted)


@pytest.mark.slow
def test_it_is_the_accuracy_of_the_paper():
    """Two estimates from 600 batches differ by less than 0.09 in 998 of 1,000 cases."""
    factors = factor_codes.random_factors(300)
    codes = factor_codes.noisy(factors @ np.array([[1, 0.4, 0], [0, 0.7, 0.5], [0.5, 0, 0.9]]), 2.0)
    found = score(factor_codes.pool(codes, factors), batch_size=8)
    assert 0.42 < found < 0.9
    assert found == pytest.approx(by_hand(codes, factors, 8), abs=0.09)


@pytest.mark.parametrize("protocol", ["pool", "published"])
def test_a_perfect_code_has_1(protocol):
    factors = factor_codes.random_factors(200)
    if protocol == "pool":
        assert score(factor_codes.pool(factor_codes.perfect(factors), factors)) == 1
    else:
        assert score(factor_codes.fresh(factor_codes.perfect, 10)) == 1


def test_a_code_that_is_turned_has_no_more_than_chance():
    """Each latent knows half of both factors, so the differences are alike whichever is fixed."""
    factors = factor_codes.grid((4, 4))
    pool = factor_codes.pool(factor_codes.half_turned(factors), factors, (4, 4))
    assert score(pool) == pytest.approx(0.5, abs=0.08)


def test_noise_has_no_more_than_chance():
    factors = factor_codes.random_factors(600)
    noise = np.random.default_rng(0).normal(size=(600, 4))
    assert score(factor_codes.pool(noise, factors)) == pytest.approx(1 / 3, abs=0.1)


def test_the_order_of_the_latents_does_not_matter():
    """Beyond the tolerance of the classifier."""
    factors = factor_codes.random_factors(200)
    codes = factor_codes.noisy(factors, 2.0)
    one, other = (score(factor_codes.pool(codes[:, order], factors)) for order in ([0, 1, 2], [2, 0, 1]))
    assert one == pytest.approx(other, abs=0.01)


def test_the_seed_chooses_the_batches():
    factors = factor_codes.random_factors(200)
    pool = factor_codes.pool(factor_codes.noisy(factors, 2.0), factors)
    assert score(pool, 1, batch_size=4) == score(pool, 1, batch_size=4)
    assert score(pool, 1, batch_size=4) != score(pool, 2, batch_size=4)


def test_one_factor_is_no_riddle():
    factors = factor_codes.random_factors(20, (3,))
    with pytest.raises(ConfigurationError, match=r"BetaVAEScore guesses which factor .* have one, 'shape'"):
        score(factor_codes.pool(factors.astype(float), factors, (3,)))


def test_other_sizes_are_in_the_name():
    assert BetaVAEScore().conditions() == []
    assert BetaVAEScore(8, 100, 50).conditions() == ["batch=8", "train=100", "test=50"]
