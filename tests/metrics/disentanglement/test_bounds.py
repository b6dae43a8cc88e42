"""The figures of every score stay in the ranges that docs/using.md gives, whatever the latents are."""

import numpy as np
import pytest

from tests.fixtures import factor_codes
from vaeflow.metrics.disentanglement import (
    DCI,
    IRS,
    MIG,
    SAP,
    UDR,
    BetaVAEScore,
    FactorVAEScore,
    Latents,
    ModularityExplicitness,
    UnsupervisedScores,
)

SIZES = (2, 3)
FACTORS = factor_codes.random_factors(90, SIZES)
RANDOM = np.random.default_rng(7)
# Name -> latents of the images; some say all, some nothing, some are as lopsided as latents can be.
LATENTS = {
    "perfect": factor_codes.perfect(FACTORS),
    "rotated": factor_codes.rotated(factor_codes.perfect(FACTORS)),
    "noise": RANDOM.normal(size=(90, 4)),
    "heavy tails": RANDOM.standard_cauchy(size=(90, 3)),
    "two ends": np.where(RANDOM.random((90, 3)) < 0.1, -1.0, 1.0),
    "one outlier": np.eye(90)[:, :2] * 1e6,
    "equal": np.repeat(RANDOM.normal(size=(90, 1)), 3, axis=1),
    "constant": np.full((90, 2), 0.1),
    "one": FACTORS[:, :1] + 0.1 * RANDOM.normal(size=(90, 1)),
    "tiny": 1e-12 * RANDOM.normal(size=(90, 3)),
}
BATCHES = {"batch_size": 8, "num_train": 200, "num_test": 100}
SCORES = [
    BetaVAEScore(**BATCHES),
    FactorVAEScore(**BATCHES),
    MIG(),
    SAP(),
    DCI(),
    ModularityExplicitness(),
    IRS(),
    UnsupervisedScores(),
]
UNBOUNDED = ("gaussian_total_correlation", "gaussian_wasserstein_correlation", "mutual_information_score")


def assert_in_range(figures):
    for name, value in figures.items():
        assert np.isfinite(value), name
        highest = np.inf if name in UNBOUNDED else 1.0
        assert 0.0 <= value <= highest + 1e-9, (name, value)


@pytest.mark.parametrize("latents", LATENTS)
@pytest.mark.parametrize("score", SCORES, ids=lambda score: type(score).__name__)
def test_a_score_is_in_its_range(score, latents):
    assert_in_range(score.measure(factor_codes.pool(LATENTS[latents], FACTORS, SIZES), 0))


@pytest.mark.parametrize("similarity", ["lasso", "spearman"])
def test_the_comparison_of_runs_is_in_its_range(similarity):
    runs = [Latents(codes, np.ones(codes.shape[1])) for codes in LATENTS.values()]
    for figures in UDR(similarity=similarity, among="all").compare(runs):
        assert_in_range(figures)
