"""How TensorBoard shows metrics: in which group, with which meaning and unit, and in which charts."""

import re
from collections.abc import Iterable
from typing import Any

from tensorboard.plugins.custom_scalar import layout_pb2

_proto: Any = layout_pb2  # Its classes are made at run time.
_OF_LATENTS = "kl_per_dimension/"
_SPEED = {
    "examples_per_second": "speed/examples_per_second",
    "train/input_wait_fraction": "speed/input_wait_fraction",
}
_LATENTS = "kl_of_each_latent"

# The end of a metric's name -> its meaning and unit; the first that fits.
_MEANINGS = (
    ("examples_per_second", "Images for each second of training, on all devices together."),
    ("input_wait_fraction", "The share of the time that training waits for its input, 0 to 1."),
    ("learning_rate", "The factor of the optimizer's updates at the last step before this point."),
    ("gradient_norm", "The global norm of the gradient before it is clipped, a mean over the steps."),
    ("_weight", "The factor with which this term counts in the loss."),
    ("skipped", "The share of the steps that were skipped for their large gradient, 0 to 1."),
    ("negative_elbo", "Nats for each image, at a KL weight of 1; lower is better."),
    ("selection_score", "The score by which the best checkpoint is chosen; lower is better."),
    (
        "reconstruction_loss",
        "The reconstruction term for each image: nats where the likelihood is a density.",
    ),
    ("active_units", "The number of latents whose center varies by more than 0.01 over the images."),
    ("kl", "KL(q(z|x) ‖ p(z)) in nats for each image."),
    ("loss", "What is minimized: the sum of the terms with their weights, for each image."),
    ("perplexity", "How many codes are in use, as if all these were equally frequent."),
    ("usage", "The share of the codes that are in use, 0 to 1."),
    ("dead", "The number of codes that nobody chose."),
    ("_db", "Decibels; higher is better."),
)

# Stands for the pattern of the terms of a model.
_TERMS = "terms"
# Category -> its charts: a title, and the pattern of the tags in it.
_EITHER = "(train|validation|evaluation)"
_CHARTS = {
    "Is it learning?": (
        ("loss", r"train/loss$"),
        ("negative ELBO, nats per image", rf"{_EITHER}/negative_elbo$"),
        ("negative log-likelihood, nats per image", rf"{_EITHER}/negative_log_likelihood$"),
        ("reconstruction, per image", rf"{_EITHER}/reconstruction_loss$"),
        ("terms of the objective", _TERMS),
        ("weights of the terms", r"train/.*_weight$"),
        ("learning rate", r"train/(.*_)?learning_rate$"),
        ("gradient norm, before clipping", r"train/(.*_)?gradient_norm$"),
        ("skipped steps, share", r"train/skipped$"),
    ),
    "Is it collapsing?": (
        ("KL, nats per image", rf"{_EITHER}/kl(/.*)?$"),
        ("active units", rf"{_EITHER}/active_units(/.*)?$"),
        ("KL of each latent, nats", rf"{_LATENTS}/"),
        ("perplexity of the codes", rf"{_EITHER}/codes/(.*/)?perplexity"),
        ("codes in use, share", rf"{_EITHER}/codes/(.*/)?usage"),
        ("dead codes", rf"{_EITHER}/codes/(.*/)?dead"),
    ),
    "Is it fast?": (
        ("images per second", r"speed/examples_per_second$"),
        ("waiting for input, share of the time", r"speed/input_wait_fraction$"),
    ),
}


def tag_of(name: str) -> str:
    """Returns the tag of a metric: its name, but for those of the speed and of single latents."""
    split, _, rest = name.partition("/")
    if rest.startswith(_OF_LATENTS):
        return f"{_LATENTS}/{split}/{rest.removeprefix(_OF_LATENTS)}"
    return _SPEED.get(name, name)


def meaning_of(name: str) -> str | None:
    """Returns the meaning and the unit of a metric, for people; None if only its name says it."""
    if f"/{_OF_LATENTS}" in name:
        return "The KL of this latent in nats, a mean over the images; near 0 it says nothing about them."
    last = name.rpartition("/")[2]
    return next((text for end, text in _MEANINGS if last.endswith(end)), None)


def histograms(metrics: dict[str, float], most: int) -> dict[str, list[float]]:
    """Collects the KL of each latent of every group that has more than `most`: tag -> values."""
    groups: dict[str, list[float]] = {}
    for name, value in metrics.items():
        if f"/{_OF_LATENTS}" in name:
            groups.setdefault(tag_of(name).rpartition("/")[0], []).append(value)
    return {tag: values for tag, values in groups.items() if len(values) > most}


def layout(tags: Iterable[str]) -> Any:
    """Arranges scalars on one page of charts.

    The patterns are the same for all runs as far as possible: TensorBoard shows runs together in one chart if
    their charts are equal.

    Args:
      tags: of the scalars that there are; a chart without any is left out.

    Returns:
      A `Layout` of TensorBoard's plugin for custom scalars.
    """
    found = set(tags)
    terms = sorted(tag.removeprefix("train/") for tag in found if f"{tag}_weight" in found)
    of_terms = f"train/({'|'.join(map(re.escape, terms))})$"
    categories = []
    for title, charts in _CHARTS.items():
        patterns = {name: of_terms if pattern == _TERMS else pattern for name, pattern in charts}
        shown = [
            _proto.Chart(title=name, multiline=_proto.MultilineChartContent(tag=[pattern]))
            for name, pattern in patterns.items()
            if any(re.match(pattern, tag) for tag in found)
        ]
        if shown:
            categories.append(_proto.Category(title=title, chart=shown))
    return _proto.Layout(category=categories)
