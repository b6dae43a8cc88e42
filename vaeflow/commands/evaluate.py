"""Evaluates a trained model on held-out images."""

import functools
import math
import sys
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import tensorflow as tf

from vaeflow import config, registry, trained, validation
from vaeflow.analysis import aggregate_posterior, embedding, importance_sampling
from vaeflow.analysis.evaluator import Evaluator
from vaeflow.analysis.examples import Examples
from vaeflow.analysis.importance_sampling import ImportanceSampler, bits_per_dimension
from vaeflow.commands import evaluate_codes
from vaeflow.datasets.base import ALL_SPLITS
from vaeflow.errors import ConfigurationError, TrainingDiverged
from vaeflow.metrics import FeatureMetric, Metric, ReconstructionQuality
from vaeflow.models.latent_model import LatentModel
from vaeflow.runs import files
from vaeflow.runs.escaping import printable
from vaeflow.runs.finite import first_not_finite
from vaeflow.runs.progress_line import ProgressLine
from vaeflow.runs.workdir import WorkDir

# The mutual information compares every example with every other.
_MOST_EXAMPLES_COMPARED = 10_000
# Near the logarithm of the number of examples, the estimate measures that number.
_SATURATION_NATS = 1.0
_STANDARD_SAMPLES = (1, 50)
_LATENT = "kl_per_dimension_nats/"


@functools.partial(registry.command, refused=trained.FLAG_ADVICE | trained.TOKENIZER_ADVICE)
def evaluate(
    workdir: str,
    checkpoint: str = "best",
    split: str = "evaluation",
    num_samples: int | Sequence[int] | None = None,
    metrics: Sequence[Metric] | None = None,
    num_examples: int | None = None,
    batch_size: int | None = None,
    seed: int = 0,
    tokenizer: str | None = None,
) -> dict[str, Any]:
    """Evaluates a trained model on a split; each example counts once.

    Up to rounding, the results do not depend on the batch size or the number of
    replicas. What is not defined for the model is left out, and a line names it. The
    names of the results contain the unit and, in brackets, the binarization of the
    images, without which such figures cannot be compared. A model without latents, such as a `CodePrior`,
    has what it names itself: `negative_log_likelihood_nats`, which is exact, and `bits_per_code`; a
    `FeatureMetric` compares the images of its tokenizer with what this decodes. Others:

    - `negative_elbo_nats`, `reconstruction_loss_nats`, `kl_nats`, and
      `kl_per_dimension_nats/00` … for each latent, at a KL weight of 1; with several groups of
      latents also `kl_nats/<group>`;
    - `active_units`, the number of latents whose posterior center has a variance above 0.01
      (Burda et al. 2016, arXiv:1509.00519, section 5.2);
    - `mutual_information_nats` between images and latents, an estimate that is at
      most the logarithm of the number of examples, and is said to be saturated where it
      comes within one nat of this ceiling; see `aggregate_posterior`;
    - `nll_is50_nats` …, the negative log-likelihood by importance sampling with 50
      samples; see `ImportanceSampler`; and `bits_per_dimension_is50`, unless the
      likelihood is no probability of the images, as that of grey pixels under a Bernoulli;
    - `reconstruction_l1`, `reconstruction_mse`, `reconstruction_psnr_db`, `reconstruction_ssim`; see
      `ReconstructionQuality`;
    - if `metrics` names them, `reconstruction_ms_ssim`, and `rfid`, `gfid` and others of a
      `FeatureMetric`, whose brackets also hold the first digits of the SHA-256 of the net's file.

    Args:
      workdir: the work folder of a run.
      checkpoint: `"best"`, `"last"`, a step, or a checkpoint's path.
      split: `"evaluation"`, `"train"`, or if the run has one, `"validation"`.
      num_samples: the numbers of samples for the likelihood, an int or a list; `[]`
        skips the likelihood; None for 1 and 50 where the likelihood is defined.
      metrics: a list of `Metric`s, in gin `[@ReconstructionQuality()]`, which is the
        default; `[]` for none.
      num_examples: how many examples, spread evenly over the split; None for all.
      batch_size: the global batch size; None for that of the training run.
      seed: keys the noise.
      tokenizer: the work folder of the tokenizer of a `CodePrior`; None for the one where the codes
        were made.

    Returns:
      The content of `evaluation.json` (`evaluation_train.json`): how it was measured, and
      `metrics`, name -> float.

    Raises:
      ConfigurationError: a setting is wrong, or the folder has no such checkpoint.
      EnvironmentFailure: the data or the disk failed.
      TrainingDiverged: a result is not finite; nothing was written.
    """
    with config.values_checked():
        validation.one_of("evaluate.split", split, ALL_SPLITS)
        if num_samples is not None:
            num_samples = [num_samples] if isinstance(num_samples, int) else num_samples
            num_samples = validation.positive_integers("evaluate.num_samples", num_samples)
        for name, value in (("num_examples", num_examples), ("batch_size", batch_size)):
            if value is not None:
                validation.positive_integer(f"evaluate.{name}", value)
        validation.seed("evaluate.seed", seed)
        if metrics is not None:
            metrics = validation.list_of("evaluate.metrics", metrics, Metric, "[@ReconstructionQuality()]")
    run = trained.restore(workdir, checkpoint)
    has_latents = isinstance(run.model, LatentModel)
    if metrics is None:
        metrics = [ReconstructionQuality()] if has_latents else []
    images = run.split(split)
    batch_size = run.checked_batch_size("evaluate.batch_size", batch_size)
    examples = Examples(run.model, images, run.strategy, batch_size, seed).spread(num_examples)
    count = len(examples.indices)
    of = "" if count == images.num_examples else f" of {images.num_examples:,}"
    described = f"{count:,}{of} {images.content} of {type(run.dataset).__name__}, {split} split"
    print(printable(f"{run.checkpoint} on {described}"), file=sys.stderr)

    if num_samples and not has_latents:
        raise ConfigurationError(
            f"`evaluate.num_samples` must be left out, got {num_samples}: the likelihood of a "
            f"{type(run.model).__name__} is exact, and no sample of latents estimates it"
        )
    compared = [metric for metric in metrics if isinstance(metric, FeatureMetric)]
    features = None
    if compared and run.model.takes == "codes":
        features = evaluate_codes.compare(run, tokenizer, compared, split, num_examples, batch_size, seed)
    elif tokenizer is not None:
        raise ConfigurationError(
            f"--tokenizer={tokenizer} is for a `FeatureMetric` of a model of codes; leave it out"
        )
    evaluator = Evaluator(examples, metrics, features)
    results, left_out = _in_units(evaluator.evaluate()), evaluator.features.left_out
    if has_latents:
        of_latents, without_density = _of_latents(examples, num_samples)
        results |= of_latents
        left_out = [*_what_is_left_out(results, without_density), *left_out]
    if bad := first_not_finite(results.items()):
        raise TrainingDiverged(
            f"the model of {run.checkpoint} gives {bad} = {results[bad]} on the {described}; nothing was "
            "written. Choose another checkpoint with `--checkpoint`, or train with a lower learning rate"
        )
    for quantity in left_out:
        print(f"left out for this {type(run.model).__name__}: {quantity}", file=sys.stderr)
    report = {
        "step": run.step,
        "checkpoint": run.checkpoint.name,
        "dataset": type(run.dataset).__name__,
        "split": split,
        "num_examples": count,
        **_limits_of_estimates(results, min(count, _MOST_EXAMPLES_COMPARED)),
        "binarization": images.binarization,
        "seed": seed,
        "num_replicas": run.strategy.num_replicas_in_sync,
        **({"feature_nets": evaluator.features.nets} if evaluator.features.nets else {}),
        "metrics": {
            name if "[" in name else f"{name}[{images.binarization}]": float(value)
            for name, value in results.items()
        },
    }
    _write(report, run.workdir)
    return report


def _limits_of_estimates(results: Mapping[str, float], num_compared: int) -> dict[str, float]:
    """Returns how many examples the mutual information was estimated from, and its largest value."""
    if "mutual_information_nats" not in results:
        return {}
    return {
        "mutual_information_examples": num_compared,
        "mutual_information_ceiling_nats": math.log(num_compared),
    }


def _of_latents(examples: Examples, num_samples: Sequence[int] | None) -> tuple[dict[str, float], str]:
    """Estimates the mutual information and the likelihood, where they are defined.

    Returns:
      The results, and what is without a density, empty if all have one.
    """
    results = {}
    embedded = embedding.embed(examples.spread(_MOST_EXAMPLES_COMPARED))
    sole = next(iter(embedded.values()))
    if len(embedded) == 1 and sole.is_gaussian and sole.labels is None:
        results["mutual_information_nats"] = aggregate_posterior.mutual_information(
            sole.latents, sole.parameters["mean"], sole.parameters["log_variance"]
        )
    without_density = importance_sampling.group_without_density(examples)
    if num_samples is None:
        num_samples = () if without_density else _STANDARD_SAMPLES
    if num_samples:
        results |= _likelihoods(examples, num_samples)
    return results, without_density


def _what_is_left_out(results: Mapping[str, float], without_density: str) -> list[str]:
    """Says which figures are not defined for a model with latents, for people."""
    missing = {
        "negative_elbo_nats": "the negative ELBO and the KL, which a density or a closed form must give",
        "mutual_information_nats": "the mutual information, which is estimated for one vector of Gaussian "
        "latents without labels",
    }
    left_out = [quantity for name, quantity in missing.items() if name not in results]
    if without_density:
        left_out.append(f"the likelihood, since {without_density} has no density")
    if not any(name.startswith("active_units") for name in results):
        left_out.append("active units, since the latents are codes")
    return left_out


def _likelihoods(examples, num_samples):
    split, measure = examples.split, examples.model.measure
    results = {}
    with ProgressLine(every_seconds=10, stays=False) as line:

        def show(done: float) -> None:
            line.update([f"{done:4.0%} of the importance sampling"], done)

        estimates = ImportanceSampler(examples, num_samples).estimate(show)
    for k, nats in estimates.items():
        results[f"nll_is{k}_nats"] = nats
        bits = bits_per_dimension(nats, split, measure)
        if bits is not None:
            results[f"bits_per_dimension_is{k}"] = bits
    return results


def _in_units(results: Mapping[str, float]) -> dict[str, float]:
    """Adds the unit to the names that the training logs without it."""
    in_nats = {
        "kl",
        "kl_per_dimension",
        "negative_elbo",
        "negative_iwae_bound",
        "negative_log_likelihood",
        "reconstruction_loss",
    }
    renamed = {}
    for name, value in results.items():
        quantity, slash, dimension = name.partition("/")
        renamed[f"{quantity}_nats{slash}{dimension}" if quantity in in_nats else name] = value
    return renamed


def _write(report: dict[str, Any], folder: WorkDir) -> None:
    """Writes the report as JSON and to TensorBoard, and prints it."""
    suffix = "" if report["split"] == "evaluation" else f"_{report['split']}"
    name = f"evaluation{suffix}.json"
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
