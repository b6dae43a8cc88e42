"""The tables of docs/disentanglement.md, which `python -m results.page` makes of the records of this study.

They ask of its runs what Locatello et al. 2019 (arXiv:1811.12359) asked of more than 12,000: what decides a
score, whether scores agree, and whether anything that needs no factors tells which run is good.
"""

from collections.abc import Sequence

import numpy as np
import scipy.stats

from vaeflow.commands.studies.report import choices, page
from vaeflow.commands.studies.report.findings import Point

SCORES = (
    "beta_vae_score",
    "factor_vae_score",
    "mig",
    "sap",
    "dci_disentanglement",
    "modularity",
    "irs",
)
# What is known of a run without the factors of its images.
WITHOUT_FACTORS = (
    "reconstruction_loss_nats",
    "kl_nats",
    "negative_elbo_nats",
    "gaussian_total_correlation",
    "mutual_information_score",
)
_OF_POINTS = (
    *("factor_vae_score", "mig", "dci_disentanglement"),
    *("negative_elbo_nats", "kl_nats", "gaussian_total_correlation"),
)


def points_tables(found: Sequence[Point]) -> str:
    """Writes what each point has measured: means, deviations and intervals over the seeds."""
    return "\n\n".join(page.tables_of_points(found, [_measure(found, name) for name in _OF_POINTS]))


def shares_table(found: Sequence[Point]) -> str:
    """Writes how much of the variance of each score models explain, and models with their weights."""
    models, points = [], []
    for point in found:
        models += [point.settings["train.model"]] * len(point.done())
        points += [point.index] * len(point.done())
    lines = [["score", "of the runs", "model", "model and weight", "the rest, seeds"]]
    for name in SCORES:
        values = _values(found, name)
        of_model, of_point = explained(values, models), explained(values, points)
        shares = (_number(100 * share, 0) for share in (of_model, of_point, 1 - of_point))
        of_runs = f"{min(values):.2f} to {max(values):.2f}"
        lines.append([_title(name), of_runs, *(f"{share} %" for share in shares)])
    return page.rows(lines)


def correlations_table(found: Sequence[Point], names: Sequence[str]) -> str:
    """Writes the rank correlations (Spearman) of measures with the scores, over all runs."""
    lines = [["", *map(_title, SCORES)]]
    for name in names:
        ranks = (scipy.stats.spearmanr(_values(found, name), _values(found, score)) for score in SCORES)
        lines.append([_title(name), *(_number(each.statistic, 2) for each in ranks)])
    return page.rows(lines)


def explained(values: Sequence[float], groups: Sequence[object]) -> float:
    """Returns the share of the variance of values that lies between groups.

    It is adjusted for the number of groups, so that it is 0 on average where they differ by chance:
    1 − (W / (n − k)) / (T / (n − 1)) with the sums of squares W within the k groups and T in all.
    """
    array, labels = np.asarray(values, np.float64), np.asarray(groups)
    parts = [array[labels == label] for label in np.unique(labels)]
    within = sum(np.sum(np.square(part - np.mean(part))) for part in parts) / (len(array) - len(parts))
    return float(1 - within / np.var(array, ddof=1))


def _values(found, name):
    """Returns a measure of all runs that are done, by point and seed."""
    measure = _measure(found, name)
    return [each.measures[measure] for point in found for each in point.done()]


def _measure(found, name):
    """Returns the measure of this name before the brackets."""
    (measure,) = {each for point in found for each in point.measures if each.partition("[")[0] == name}
    return measure


def _number(value, digits):
    return f"{value:.{digits}f}".replace("-", "−")


def _title(name):
    return choices.title(name)[0]
