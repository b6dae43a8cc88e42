"""The scores against the NumPy code of Locatello et al. (disentanglement_lib 1.5) on the same codes.

That code was run by hand, on the codes of `sprite_codes`; only its figures are here. What it draws without
a seed is left out.
"""

import numpy as np
import pytest

from tests.fixtures import factor_codes, sprite_codes
from vaeflow.metrics.disentanglement import MIG, UnsupervisedScores, information, irs, modularity_explicitness

FACTORS = sprite_codes.random_factors(2000)
CODES = sprite_codes.rotated_codes(FACTORS)


def measured(score):
    names = [f"factor{number}" for number in range(FACTORS.shape[1])]
    representations = factor_codes.Pool(
        factor_codes.embedding(CODES), FACTORS, names, sprite_codes.SPRITE_SIZES
    )
    return score.measure(representations, 0)


def test_mig():
    assert measured(MIG()) == {"mig": pytest.approx(0.08321977277734635, abs=1e-12)}


def test_the_scores_without_factors():
    assert measured(UnsupervisedScores()) == pytest.approx(
        {
            "gaussian_total_correlation": 0.376767894856083,
            "gaussian_wasserstein_correlation": 0.3059920755109413,
            "gaussian_wasserstein_correlation_norm": 0.0473554441175068,
            "mutual_information_score": 0.09175585738416772,
        },
        abs=1e-12,
    )


def test_modularity():
    labels = information.binned(CODES, 20)
    found = modularity_explicitness.modularity(information.mutual_information(labels, FACTORS))
    assert found == pytest.approx(0.8193277929456473, abs=1e-12)


def test_irs_with_the_values_of_each_factor_in_20_bins():
    """As the published code reads 40 orientations and 32 positions."""
    bins = information.binned(FACTORS.astype(np.float64), 20)
    assert irs.interventional_robustness(CODES, bins, 0.99) == pytest.approx(0.4726632880360071, abs=1e-12)


def test_irs_with_all_values_apart():
    """The published function, without the bins."""
    found = irs.interventional_robustness(CODES, FACTORS, 0.99)
    assert found == pytest.approx(0.48541171106661085, abs=1e-12)
