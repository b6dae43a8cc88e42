"""Each variant's own term moves as its paper says when its weight grows, on rendered sprites."""

import pytest

from results.weights.run import ROWS, trained

pytestmark = pytest.mark.long

# How much of the term the large weight may leave.
FACTORS = {
    "`BetaVAE`": 0.5,
    "`FactorVAE`": 0.3,
    "`DIPVAE` I": 0.4,
    "`DIPVAE` II": 0.4,
    "`InfoVAE`": 0.2,
    "`WAE`": 0.2,
}
BY_MODEL = {row.model: row for row in ROWS}


@pytest.mark.parametrize("model", FACTORS)
def test_the_weight_lowers_the_term(model):
    row = BY_MODEL[model]
    weak, strong = trained(row)
    assert strong[row.term] < FACTORS[model] * weak[row.term]
    if row.term == "off_diagonal_covariance":
        assert strong["diagonal_covariance"] < FACTORS[model] * weak["diagonal_covariance"]


def test_the_kl_comes_to_the_capacity():
    row = BY_MODEL["`AnnealedVAE`"]
    assert [metrics["kl"] for metrics in trained(row)] == pytest.approx(row.values, abs=0.3)


def test_beta_lowers_the_total_correlation():
    row = BY_MODEL["`BetaTCVAE`, mss"]
    # An estimate, which may be below 0.
    weak, strong = (metrics["total_correlation"] for metrics in trained(row))
    assert strong < weak - 1


def test_no_row_is_left_out():
    assert {*FACTORS, "`AnnealedVAE`", "`BetaTCVAE`, mss"} == set(BY_MODEL)
