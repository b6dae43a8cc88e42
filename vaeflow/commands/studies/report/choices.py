"""Which measures a report shows, and by which it names the best runs."""

import dataclasses
import re
from collections.abc import Sequence

from vaeflow import validation
from vaeflow.commands.studies.report.findings import Finding, Point

DIRECTIONS = ("minimize", "maximize")
# By which the best runs are named unless `study.metric` says otherwise. The sum that an objective
# minimizes would not do: its weights differ from point to point.
_METRICS = (
    "validation/negative_elbo",
    "evaluation/negative_elbo",
    "validation/negative_log_likelihood",
    "evaluation/negative_log_likelihood",
)
# A score has its protocol in the brackets, and one of `study.compare` the runs that were compared.
_SCORE = re.compile(r"[^\[]+\[(?:.*,)?(?:pool|published|seeds|all)(?:,.*)?\]")
# The main measures of an evaluation, and those of the training where nothing was evaluated.
_MAIN = re.compile(
    r"(?:negative_elbo_nats|nll_is(?!1_)\d+_nats|negative_log_likelihood_nats|bits_per_code|active_units"
    r"|reconstruction_psnr_db|rfid|gfid)\[.*\]"
)
_TRAINED = re.compile(
    r"(?:evaluation|validation)/(?:negative_elbo|reconstruction_loss|kl|active_units"
    r"|negative_log_likelihood|bits_per_code)"
)
_SPLIT = re.compile(r"(evaluation|validation)/(.+)")
_ABBREVIATIONS = {"elbo", "nll", "kl", "mig", "sap", "dci", "irs", "udr", "psnr", "ssim", "mse"}
_PERSONS = {"gaussian", "wasserstein"}
_MODELS = {"beta_vae": "BetaVAE", "factor_vae": "FactorVAE"}
_UNITS = {"_nats": "nats", "_db": "dB"}
_IN_NATS = re.compile(r"(?:\w+/)?(?:negative_elbo|negative_log_likelihood|kl|kl_per_dimension/.+)")


@dataclasses.dataclass(frozen=True)
class Choices:
    """What a report shows.

    Attributes:
      metric: the measure by which the best runs are named, or the part of its name before the
        brackets; None for the negative ELBO, or of models without latents the negative log-likelihood.
      direction: which of its values are better, one of `DIRECTIONS`; None without a metric of its own.
      columns: the measures that Markdown and pictures show, named likewise; None for the scores and
        the main measures.

    Raises:
      ValueError: a value is something else, or the direction is missing.
    """

    metric: str | None = None
    direction: str | None = None
    columns: Sequence[str] | None = None

    def __post_init__(self):
        if self.metric is not None:
            if not isinstance(self.metric, str):
                raise ValueError(f"`study.metric` must be the name of a measure, got {self.metric!r}")
            validation.one_of("study.direction", self.direction, DIRECTIONS)
        elif self.direction is not None:
            raise ValueError(
                "`study.direction` is that of `study.metric`, which is not set; set both or none"
            )
        if self.columns is not None:
            validation.list_of("study.columns", self.columns, str, '["mig", "negative_elbo_nats"]')

    @property
    def minimizes(self) -> bool:
        """Whether lower values of the metric are better."""
        return self.direction != "maximize"


def metric(choices: Choices, measures: Sequence[str]) -> str | None:
    """Returns the measure by which the best runs are named; None if no run has it."""
    if choices.metric is not None:
        return next(iter(_named(choices.metric, measures)), None)
    return next((name for name in _METRICS if name in measures), None)


def columns(choices: Choices, measures: Sequence[str]) -> list[str]:
    """Returns the measures that Markdown and pictures show."""
    if choices.columns is not None:
        named = [name for wanted in choices.columns for name in _named(wanted, measures)]
        return list(dict.fromkeys(named))
    scores = [name for name in measures if _SCORE.fullmatch(name)]
    main = [name for name in measures if _MAIN.fullmatch(name)]
    return scores + (main or [name for name in measures if _TRAINED.fullmatch(name)])


def unknown(choices: Choices, measures: Sequence[str]) -> list[str]:
    """Returns the measures that were asked for, and that no run has."""
    asked = [*([choices.metric] if choices.metric else []), *(choices.columns or ())]
    return [name for name in dict.fromkeys(asked) if not _named(name, measures)]


def ranked(found: Sequence[Point], name: str | None, minimizes: bool) -> list[Finding]:
    """Returns the runs that have a measure, the best first.

    Args:
      found: the points of the study.
      name: of the measure; None for no runs.
      minimizes: whether lower values are better.
    """
    runs = [each for point in found for each in point.done()]
    values = [(each.measures[name], each) for each in runs if name is not None and name in each.measures]
    ordered = sorted(values, key=lambda pair: pair[0] if minimizes else -pair[0])
    return [each for _, each in ordered]


def title(name: str) -> tuple[str, str]:
    """Splits the name of a measure into a title with its unit, and how it was measured.

    Returns:
      E.g. `("MIG", "pool, n=10000")` of `mig[none,pool,n=10000]`: no binarization goes without saying. Of a
      figure of the training the second is the split; it is empty where nothing says more.
    """
    base, _, how = name.partition("[")
    how = ", ".join(part for part in how.removesuffix("]").split(",") if part != "none")
    unit = "nats" if _IN_NATS.fullmatch(base) else ""
    if split := _SPLIT.fullmatch(base):
        how, base = split[1], split[2]
    for ending, written in _UNITS.items():
        if base.endswith(ending):
            base, unit = base.removesuffix(ending), written
    base = re.sub(r"nll_is(\d+)", r"nll_of_\1_samples", base)
    base = re.sub("|".join(_MODELS), lambda found: _MODELS[found[0]], base)
    words = " ".join(map(_word, base.split("_")))
    return words + (f" ({unit})" if unit else ""), how


def _word(word):
    if word in _ABBREVIATIONS:
        return word.upper()
    return word.capitalize() if word in _PERSONS else word


def _named(wanted, measures):
    """Returns the measures of this name, in full or before the brackets."""
    if wanted in measures:
        return [wanted]
    return [name for name in measures if name.partition("[")[0] == wanted]
