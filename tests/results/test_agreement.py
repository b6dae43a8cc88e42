"""What decides the scores of a study, and which agree: against SciPy and where the answer is plain."""

import numpy as np
import pytest
import scipy.stats

from results.disentanglement import agreement
from tests.fixtures import study_outcomes
from vaeflow.commands.studies.report import findings

POINTS = [
    {"train.model": "@BetaVAE", "BetaVAE.beta": "1"},
    {"train.model": "@BetaVAE", "BetaVAE.beta": "4"},
    {"train.model": "@DIPVAE", "DIPVAE.lambda_od": "5"},
]


def study(**measures):
    """Points of made-up runs with three seeds; a measure is a function of point and seed, or 0."""
    names = {*agreement.SCORES, *agreement.WITHOUT_FACTORS} - {"mig", "negative_elbo_nats"}
    outcomes = []
    for index, point in enumerate(POINTS):
        for seed in range(3):
            values = {f"{name}[none]": float(seed) for name in names}
            values |= {f"{name}[none]": measure(index, seed) for name, measure in measures.items()}
            outcomes.append(study_outcomes.done(index, point, seed, mig=seed, **values))
    return findings.points(outcomes)


def row(table, title):
    (line,) = [line for line in table.splitlines() if line.startswith(f"| {title} |")]
    return [cell.strip() for cell in line.strip("|").split("|")][1:]


def test_the_explained_share_is_that_of_an_analysis_of_variance():
    generator = np.random.default_rng(0)
    parts = [generator.normal(mean, 1.0, size=count) for mean, count in ((0, 3), (1, 5), (2, 4))]
    f = scipy.stats.f_oneway(*parts).statistic
    count, groups = 12, 3
    expected = 1 - (count - 1) / (count - groups + f * (groups - 1))
    labels = np.repeat(["a", "b", "c"], [3, 5, 4])
    assert agreement.explained(np.concatenate(parts), labels) == pytest.approx(expected, rel=1e-12)


def test_chance_explains_nothing_on_average():
    values = np.random.default_rng(1).normal(size=(2000, 30))
    shares = [agreement.explained(each, np.repeat(range(10), 3)) for each in values]
    assert np.mean(shares) == pytest.approx(0.0, abs=0.02)


def test_a_score_that_the_model_decides():
    table = agreement.shares_table(
        study(sap=lambda index, seed: float(POINTS[index]["train.model"] == "@DIPVAE"))
    )
    assert row(table, "SAP") == ["0.00 to 1.00", "100 %", "100 %", "0 %"]


def test_a_score_that_the_weight_decides():
    table = agreement.shares_table(study(sap=lambda index, seed: float(index == 1)))
    _, model, point, seeds = row(table, "SAP")
    assert (point, seeds) == ("100 %", "0 %")
    assert model == "14 %"  # W = 1.5 within BetaVAE, of T = 2: 1 − (1.5 / 7) / (2 / 8).


def test_correlations_are_of_ranks_and_over_all_runs():
    found = study(
        irs=lambda index, seed: np.exp(3 * index + seed), kl_nats=lambda index, seed: -(3.0 * index + seed)
    )
    table = agreement.correlations_table(found, ["kl_nats", "irs"])
    assert row(table, "IRS")[-1] == "1.00"
    assert row(table, "KL (nats)")[-1] == "−1.00"
    # The others have the number of the seed, of which ranks have ties.
    ties = scipy.stats.rankdata(np.tile(range(3), 3))
    assert row(table, "IRS")[2] == f"{np.corrcoef(ties, range(9))[0, 1]:.2f}"


def test_points_have_their_spread():
    lines = agreement.points_tables(study()).splitlines()
    assert any(line.startswith("| BetaVAE, beta=4 | 3 | 1.0 ± 1.0 (−1.5 to 3.5) |") for line in lines)
