"""What an evaluation reports: the file, TensorBoard, the table."""

import math
import textwrap
from collections.abc import Iterator, Mapping
from typing import Any

import tensorflow as tf

from vaeflow import config, trained
from vaeflow.analysis.examples import Examples
from vaeflow.runs import files
from vaeflow.runs.escaping import printable
from vaeflow.runs.workdir import WorkDir

# The mutual information compares every example with every other.
MOST_EXAMPLES_COMPARED = 10_000
# Near the logarithm of the number of examples, the estimate measures that number.
_SATURATION_NATS = 1.0
_LATENT = "kl_per_dimension_nats/"


def described(run: trained.Trained, examples: Examples, split: str) -> str:
    """Says how many examples of which split are evaluated."""
    count, images = len(examples.indices), examples.split
    of = "" if count == images.num_examples else f" of {images.num_examples:,}"
    return f"{count:,}{of} {images.content} of {type(run.dataset).__name__}, {split} split"


def made(
    run: trained.Trained, examples: Examples, split: str, results: Mapping[str, float], nets: Any
) -> dict[str, Any]:
    """Makes the content of `evaluation.json`.

    Args:
      run: the model.
      examples: what it was evaluated on.
      split: the name of their split.
      results: name -> figure; the binarization is added to names without brackets.
      nets: what describes the nets of features, empty for none.
    """
    count, binarization = len(examples.indices), examples.split.binarization
    return {
        "step": run.step,
        "checkpoint": run.checkpoint.name,
        "dataset": type(run.dataset).__name__,
        "split": split,
        "num_examples": count,
        **_limits_of_estimates(results, min(count, MOST_EXAMPLES_COMPARED)),
        "binarization": binarization,
        "seed": examples.seed,
        "num_replicas": run.strategy.num_replicas_in_sync,
        **({"feature_nets": nets} if nets else {}),
        "configuration": config.text_of("evaluate"),
        "metrics": {
            name if "[" in name else f"{name}[{binarization}]": float(value)
            for name, value in results.items()
        },
    }


def _limits_of_estimates(results: Mapping[str, float], num_compared: int) -> dict[str, float]:
    """Returns how many examples the mutual information was estimated from, and its largest value."""
    if "mutual_information_nats" not in results:
        return {}
    return {
        "mutual_information_examples": num_compared,
        "mutual_information_ceiling_nats": math.log(num_compared),
    }


def file_name(split: str) -> str:
    """Returns the name of the file with the evaluation of a split."""
    return f"evaluation{_suffix(split)}.json"


def _suffix(split: str) -> str:
    return "" if split == "evaluation" else f"_{split}"


def write(report: dict[str, Any], folder: WorkDir) -> None:
    """Writes the report as JSON and to TensorBoard, and prints it."""
    suffix, name = _suffix(report["split"]), file_name(report["split"])
    folder.write_json(name, report)
    try:
        with tf.summary.create_file_writer(str(folder.tensorboard)).as_default(step=report["step"]):
            for metric, value in report["metrics"].items():
                tf.summary.scalar(f"evaluate{suffix}/{metric}", value)
    except (OSError, tf.errors.OpError) as error:
        raise files.failure(folder.tensorboard, error) from error
    print(_as_table(report["metrics"]))
    print(*_remarks(report), sep="", end="")
    print(printable(f"written to {folder.path / name} and to TensorBoard"))


def _remarks(report: Mapping[str, Any]) -> Iterator[str]:
    """Says which figures are limits of an estimate, not of the model; lines."""
    estimate = report["metrics"].get(f"mutual_information_nats[{report['binarization']}]")
    if estimate is None:
        return
    ceiling, count = report["mutual_information_ceiling_nats"], report["mutual_information_examples"]
    if estimate > ceiling - _SATURATION_NATS:
        yield (
            f"mutual_information_nats is saturated: from {count:,} images the estimate is at most "
            f"ln {count:,} = {ceiling:.4f}, and the true value may be larger\n"
        )


def _as_table(metrics: Mapping[str, float]) -> str:
    """Makes a line for each metric, and one for the KL of all latents, the largest first."""
    latents = {name: value for name, value in metrics.items() if name.startswith(_LATENT)}
    rows = {
        name: f"{value:10.4f}".removesuffix(".0000") for name, value in metrics.items() if name not in latents
    }
    width = max(map(len, rows))
    lines = [f"{name:<{width}}  {text:>10}" for name, text in rows.items()]
    ordered = sorted(latents, key=latents.__getitem__, reverse=True)
    if not ordered:
        return "\n".join(lines)
    each = ", ".join(f"{_dimension(name)} {latents[name]:.2f}" for name in ordered)
    return "\n".join([*lines, *textwrap.wrap(f"KL of each latent, in nats: {each}", 90)])


def _dimension(name: str) -> str:
    dimension = name.removeprefix(_LATENT).partition("[")[0]
    return f"z{dimension}" if dimension.isdigit() else dimension
