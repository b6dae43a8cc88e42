"""Draws from a trained model: new images, reconstructions, interpolations and traversals."""

import functools
import pathlib
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np

from vaeflow import config, registry, trained, validation
from vaeflow.analysis import grids
from vaeflow.analysis.labels import labels_of_samples
from vaeflow.commands import sample_arrays, sample_files, sample_stages
from vaeflow.commands.sample_files import Arrays
from vaeflow.errors import ConfigurationError
from vaeflow.models.latent_model import LatentModel
from vaeflow.runs.escaping import printable
from vaeflow.samplers import Sampler

STARTS = ("data", "prior")


_ADVICE = trained.FLAG_ADVICE | trained.TOKENIZER_ADVICE


@functools.partial(registry.command, refused=_ADVICE)
def sample(
    workdir: str,
    checkpoint: str = "best",
    tokenizer: str | None = None,
    num_samples: int = 64,
    samplers: Sequence[Sampler] | None = None,
    labels: int | Sequence[Any] | None = None,
    num_fit_examples: int = 10000,
    num_reconstructions: int = 32,
    max_groups: int = 8,
    num_interpolations: int = 8,
    num_interpolation_steps: int = 10,
    traverse_from: str = "data",
    traversal_range: float = 3.0,
    num_traversal_steps: int = 11,
    max_traversals: int = 32,
    seconds_per_frame: float = 0.15,
    seed: int = 0,
) -> list[pathlib.Path]:
    """Draws from a trained model and writes pictures, animations and the arrays.

    Everything is written to `<workdir>/samples/`; images are means of p(x|z).
    `samples-<name>.png`: new images, a file for each sampler. `reconstructions.png`: rows of
    held-out images, each above the row of their reconstructions.
    `interpolations-linear.png` and `-spherical.png`: a row for each pair of held-out images,
    between the centers of their posteriors. `reconstructions-groups.png`, of a model with several groups of
    latents: a row for each of the same images, first the image, then what its first groups say of it, the
    other groups at the centers of p. `traversals.png`: a row for each latent, moved
    alone and labelled with its index and its mean KL in nats, the largest first; where the
    KL has no closed form, the latent whose center varies most comes first. The `.gif`
    files show the same in motion, forwards and backwards. What has no meaning for the
    model is left out, and a line names it: interpolations of codes, traversals of what is no vector.
    `samples.npz` holds the arrays, float32 unless another type is given, where s is the number of
    steps; with several groups of latents, each has its own array, as in
    samples_prior_latents_<group>:

      samples_<name>_latents `[n, D]`, samples_<name>_images `[n, H, W, C]`
      samples_labels int64 `[n, F]`, of a model that reads labels
      reconstruction_indices int64 `[r]` in the evaluation split, reconstruction_inputs,
        reconstruction_latents `[r, D]` (centers), reconstruction_images `[r, H, W, C]`
      reconstruction_num_groups int64 `[g]`, reconstruction_group_images `[r, g, H, W, C]`, of a model
        with several groups of latents
      interpolation_indices int64 `[p, 2]`, interpolation_inputs `[p, 2, H, W, C]`,
        interpolation_<path>_latents `[p, s, D]`, interpolation_<path>_images
        `[p, s, H, W, C]`; <path> is linear or spherical
      traversal_dimensions int64 `[k]`, traversal_kl `[k]`, traversal_values `[s]`,
        traversal_start `[D]`, traversal_latents `[k, s, D]`, traversal_images
        `[k, s, H, W, C]`

    A model of what another run encoded draws that, and the other run's model makes the images. A
    `CodePrior` draws samples_<name>_codes int32 `[n, h, w, G]`; a `DiffusionPrior`, or a VAE of latents,
    samples_<name>_latents, in the scale and shape of the first model. It has no other pictures.

    Args:
      workdir: the work folder of a run.
      checkpoint: `"best"`, `"last"`, a step, or a checkpoint's path.
      tokenizer: the work folder of the tokenizer of a `CodePrior`, or of the autoencoder of a model of
        latents; None for the one where the data were encoded, as their manifest says. Its weights must be
        those that encoded them.
      num_samples: the number of new images from each sampler.
      samplers: a list of `Sampler`s; None for prior, aggregate posterior and Gaussian
        mixture, of which the last two need latents that are one vector, and no labels. Of a `CodePrior`
        all are `CodeSampler`s, of a model of latents `PriorSampler`s.
      labels: of the new images, for a model that reads labels: an integer, a list of them to go
        through in turn, or with several factors a list with an integer for each, or of such
        lists. None goes through the values of a single factor, and takes the labels of held-out
        images where there are several.
      num_fit_examples: the largest number of training images to fit the samplers on, and of
        held-out images to average the KL over.
      num_reconstructions: the number of reconstructions, spread over the evaluation split.
      max_groups: into how many columns of `reconstructions-groups.png` the numbers of groups are spread, at
        most.
      num_interpolations: the number of pairs; fewer if the evaluation split is smaller.
      num_interpolation_steps: images on each path, including both ends.
      traverse_from: `"data"`, the posterior's center of a held-out image; or `"prior"`,
        all latents 0.
      traversal_range: latents move from minus this to plus this.
      num_traversal_steps: images in each traversal.
      max_traversals: the largest number of latents to traverse.
      seconds_per_frame: how long the animations show each image.
      seed: chooses images and seeds fits and draws.

    Returns:
      The paths of the files.

    Raises:
      ConfigurationError: a setting is wrong; nothing was written.
      EnvironmentFailure: the disk or the data failed.
    """
    with config.values_checked():
        _check_at_least(
            1,
            num_samples=num_samples,
            num_fit_examples=num_fit_examples,
            num_reconstructions=num_reconstructions,
            max_groups=max_groups,
            num_interpolations=num_interpolations,
            max_traversals=max_traversals,
        )
        # A path shows both of its ends.
        _check_at_least(
            2, num_interpolation_steps=num_interpolation_steps, num_traversal_steps=num_traversal_steps
        )
        validation.positive_number("sample.traversal_range", traversal_range)
        validation.positive_number("sample.seconds_per_frame", seconds_per_frame)
        validation.one_of("sample.traverse_from", traverse_from, STARTS)
        validation.seed("sample.seed", seed)
        named_samplers = _checked_samplers(samplers)

    run = trained.restore(workdir, checkpoint)
    if run.model.takes != "images":
        arrays = _drawn_stages(run, named_samplers, num_samples, labels, seed, tokenizer)
    else:
        _check_has_latents(run, tokenizer)
        source = sample_arrays.Source(run, seed, num_fit_examples)
        values = np.linspace(-traversal_range, traversal_range, num_traversal_steps, dtype=np.float32)
        chosen = labels_of_samples(run.model, source.evaluation, num_samples, labels)
        _say_left_out(run, sample_arrays.what_is_left_out(source))
        if not grids.can_show(run.image_shape):
            _say_left_out(run, ["pictures: the examples are rows of a table"])
        arrays = {
            **sample_arrays.draw(source, named_samplers, num_samples, chosen),
            **sample_arrays.reconstruct(source, num_reconstructions),
            **sample_arrays.reconstruct_by_groups(source, num_reconstructions, max_groups),
            **sample_arrays.interpolate(source, num_interpolations, num_interpolation_steps),
            **sample_arrays.traverse(source, traverse_from, max_traversals, values),
        }
    paths = sample_files.write(run.workdir.path, arrays, seconds_per_frame)
    _report(run, arrays, paths)
    return paths


def _drawn_stages(
    run: trained.Trained,
    samplers: dict[str, Sampler] | None,
    num_samples: int,
    labels: int | Sequence[Any] | None,
    seed: int,
    tokenizer: str | None,
) -> Arrays:
    """Draws new images from a model of codes or latents, which has nothing else to show."""
    _say_left_out(
        run, [f"reconstructions, interpolations and traversals: it is a model of {run.model.takes}"]
    )
    chosen = labels_of_samples(run.model, run.split(), num_samples, labels) if run.model.reads else None
    return sample_stages.draw(run, samplers, num_samples, chosen, seed, tokenizer)


def _check_has_latents(run: trained.Trained, tokenizer: str | None) -> None:
    own = type(run.model).__name__
    if not isinstance(run.model, LatentModel):
        raise ConfigurationError(f"a {own} has no latents, and `sample` does not know how to draw from it")
    if tokenizer is not None:
        raise ConfigurationError(
            f"--tokenizer={tokenizer} is for a model of codes or latents, not for a {own}; leave it out"
        )


def _say_left_out(run: trained.Trained, left_out: Sequence[str]) -> None:
    for each in left_out:
        print(f"left out for this {type(run.model).__name__}: {each}", file=sys.stderr)


def _check_at_least(least: int, **settings: Any) -> None:
    for name, value in settings.items():
        if validation.positive_integer(f"sample.{name}", value) < least:
            raise ConfigurationError(
                f"`sample.{name}` must be at least {least}, to show both ends, got {value}"
            )


def _checked_samplers(samplers: Any) -> dict[str, Sampler] | None:
    """Returns name -> `Sampler`, where a repeated name gets a number; None for None."""
    if samplers is None:
        return None
    example = "[@PriorSampler(), @GaussianMixtureSampler()]"
    named: dict[str, Sampler] = {}
    for sampler in validation.list_of("sample.samplers", samplers, Sampler, example):
        alike = sum(each.name == sampler.name for each in named.values())
        named[f"{sampler.name}_{alike + 1}" if alike else sampler.name] = sampler
    return named


def _report(run: trained.Trained, arrays: Arrays, paths: list[pathlib.Path]) -> None:
    lines = [f"model      step {run.step}, {run.checkpoint}"]
    if "traversal_dimensions" in arrays:
        lines.append(f"traversed  {', '.join(sample_files.traversal_labels(arrays))}")
    for kind, suffix in (("pictures", ".png"), ("moving", ".gif"), ("arrays", ".npz")):
        lines += [f"{kind:9}  {path}" for path in paths if path.suffix == suffix]
    print(printable("\n".join(lines)))
