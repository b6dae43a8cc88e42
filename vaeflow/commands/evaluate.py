"""Evaluates a trained model on held-out images."""

import functools
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from vaeflow import config, registry, trained, validation
from vaeflow.analysis import aggregate_posterior, embedding, importance_sampling
from vaeflow.analysis.evaluator import Evaluator
from vaeflow.analysis.examples import Examples
from vaeflow.analysis.feature_comparison import FeatureComparison
from vaeflow.analysis.importance_sampling import ImportanceSampler, bits_per_dimension
from vaeflow.commands import evaluate_codes, evaluate_report, evaluate_scores
from vaeflow.datasets.base import ALL_SPLITS
from vaeflow.errors import ConfigurationError, TrainingDiverged
from vaeflow.metrics import FeatureMetric, Metric, ReconstructionQuality, Score
from vaeflow.models.latent_model import LatentModel
from vaeflow.runs.escaping import printable
from vaeflow.runs.finite import first_not_finite
from vaeflow.runs.progress_line import ProgressLine

_STANDARD_SAMPLES = (1, 50)


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
    scores: Sequence[Score] = (),
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
      `FeatureMetric`, whose brackets also hold the first digits of the SHA-256 of the net's file;
    - if `scores` names them, `mig` and others of a `Score`, whose brackets also hold its protocol and the
      number of images.

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
      scores: a list of disentanglement `Score`s, in gin `[@MIG()]`; each chooses its own images.
      tokenizer: the work folder of the tokenizer of a `CodePrior`; None for the one where the codes
        were made.

    Returns:
      The content of `evaluation.json` (`evaluation_train.json`): how it was measured, and
      `metrics`, name -> float.

    Raises:
      ConfigurationError: a setting is wrong, the folder has no such checkpoint, or a score is not defined.
      EnvironmentFailure: the data or the disk failed.
      TrainingDiverged: a result is not finite; nothing was written.
    """
    with config.values_checked():
        num_samples, metrics, scores = _checked(
            split, num_samples, metrics, scores, num_examples, batch_size, seed
        )
    trained.share_cores(batch_size)
    run = trained.restore(workdir, checkpoint)
    images = run.split(split)
    batch_size = run.checked_batch_size("evaluate.batch_size", batch_size)
    examples = Examples(run.model, images, run.strategy, batch_size, seed).spread(num_examples)
    described = evaluate_report.described(run, examples, split)
    print(printable(f"{run.checkpoint} on {described}"), file=sys.stderr)

    _check_num_samples(run.model, num_samples)
    disentanglement = evaluate_scores.Scores(run, scores, images, seed)
    metrics = _usual_metrics(run.model) if metrics is None else metrics
    features = _decoded_features(run, tokenizer, metrics, split, num_examples, batch_size, seed)
    evaluator = Evaluator(examples, metrics, features)
    results, left_out = _measured(evaluator, examples, num_samples, disentanglement)
    if bad := first_not_finite(results.items()):
        raise TrainingDiverged(
            f"the model of {run.checkpoint} gives {bad} = {results[bad]} on the {described}; nothing was "
            "written. Choose another checkpoint with `--checkpoint`, or train with a lower learning rate"
        )
    for quantity in left_out:
        print(printable(f"left out for this {type(run.model).__name__}: {quantity}"), file=sys.stderr)
    report = evaluate_report.made(run, examples, split, results, evaluator.features.nets)
    evaluate_report.write(report, run.workdir)
    return report


def _checked(
    split: Any, num_samples: Any, metrics: Any, scores: Any, num_examples: Any, batch_size: Any, seed: Any
) -> tuple[tuple[int, ...] | None, list[Metric] | None, list[Score]]:
    """Checks the settings; returns the numbers of samples, the metrics and the scores."""
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
    return num_samples, metrics, validation.list_of("evaluate.scores", scores, Score, "[@MIG()]")


def _check_num_samples(model: Any, num_samples: Sequence[int] | None) -> None:
    if num_samples and not isinstance(model, LatentModel):
        own = type(model).__name__
        why = (
            f"the likelihood of a {own} is exact" if model.takes == "codes" else f"a {own} has no likelihood"
        )
        raise ConfigurationError(
            f"`evaluate.num_samples` must be left out, got {num_samples}: {why}, and no sample of latents "
            "estimates it"
        )


def _measured(
    evaluator: Evaluator,
    examples: Examples,
    num_samples: Sequence[int] | None,
    disentanglement: evaluate_scores.Scores,
) -> tuple[dict[str, float], list[str]]:
    """Returns all results, with their units, and what is not defined for the model, for people."""
    results, left_out = _in_units(evaluator.evaluate()), list(evaluator.features.left_out)
    if isinstance(examples.model, LatentModel):
        of_latents, without_density = _of_latents(examples, num_samples)
        results |= of_latents
        left_out = [*_what_is_left_out(results, without_density), *left_out]
    of_scores, without_information = disentanglement.measure()
    return results | of_scores, [*left_out, *without_information]


def _usual_metrics(model: Any) -> list[Metric]:
    makes_images = isinstance(model, LatentModel) and model.takes == "images"
    return [ReconstructionQuality()] if makes_images else []


def _decoded_features(
    run: trained.Trained,
    tokenizer: str | None,
    metrics: Sequence[Metric],
    split: str,
    num_examples: int | None,
    batch_size: int,
    seed: int,
) -> FeatureComparison | None:
    """Prepares the comparison of images with what a model of codes draws, if a metric asks for it."""
    compared = [metric for metric in metrics if isinstance(metric, FeatureMetric)]
    if compared and run.model.takes == "codes":
        return evaluate_codes.compare(run, tokenizer, compared, split, num_examples, batch_size, seed)
    if tokenizer is not None:
        raise ConfigurationError(
            f"--tokenizer={tokenizer} is for a `FeatureMetric` of a model of codes; leave it out"
        )
    return None


def _of_latents(examples: Examples, num_samples: Sequence[int] | None) -> tuple[dict[str, float], str]:
    """Estimates the mutual information and the likelihood, where they are defined.

    Returns:
      The results, and what is without a density, empty if all have one.
    """
    results = {}
    embedded = embedding.embed(examples.spread(evaluate_report.MOST_EXAMPLES_COMPARED))
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
        "classification_loss",
        "kl",
        "kl_per_dimension",
        "negative_elbo",
        "negative_elbo_without_label",
        "negative_iwae_bound",
        "negative_log_likelihood",
        "reconstruction_loss",
    }
    renamed = {}
    for name, value in results.items():
        quantity, slash, dimension = name.partition("/")
        renamed[f"{quantity}_nats{slash}{dimension}" if quantity in in_nats else name] = value
    return renamed
