"""Draws from a trained model: new images, reconstructions, interpolations and traversals."""

import functools
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from vaeflow import config, registry, trained, validation
from vaeflow import samplers as standard_samplers
from vaeflow.analysis import traversals
from vaeflow.analysis.embedding import Embedding, embed
from vaeflow.analysis.examples import Examples, spread_indices
from vaeflow.commands import sample_files
from vaeflow.commands.sample_files import Arrays
from vaeflow.errors import ConfigurationError, user_code
from vaeflow.models.vae import VAE
from vaeflow.runs import watchdog
from vaeflow.runs.escaping import printable
from vaeflow.samplers import Sampler

STARTS = ("data", "prior")


@functools.partial(registry.command, refused=trained.FLAG_ADVICE)
def sample(
    workdir: str,
    checkpoint: str = "best",
    num_samples: int = 64,
    samplers: Sequence[Sampler] | None = None,
    num_fit_examples: int = 10000,
    num_reconstructions: int = 32,
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
    between the centers of their posteriors. `traversals.png`: a row for each latent, moved
    alone and labelled with its index and its mean KL in nats, the largest first; where the
    KL has no closed form, the latent whose center varies most comes first. The `.gif`
    files show the same in motion, forwards and backwards. `samples.npz` holds the arrays,
    float32 unless another type is given, where s is the number of steps:

      samples_<name>_latents `[n, D]`, samples_<name>_images `[n, H, W, C]`
      reconstruction_indices int64 `[r]` in the evaluation split, reconstruction_inputs,
        reconstruction_latents `[r, D]` (centers), reconstruction_images `[r, H, W, C]`
      interpolation_indices int64 `[p, 2]`, interpolation_inputs `[p, 2, H, W, C]`,
        interpolation_<path>_latents `[p, s, D]`, interpolation_<path>_images
        `[p, s, H, W, C]`; <path> is linear or spherical
      traversal_dimensions int64 `[k]`, traversal_kl `[k]`, traversal_values `[s]`,
        traversal_start `[D]`, traversal_latents `[k, s, D]`, traversal_images
        `[k, s, H, W, C]`

    Args:
      workdir: the work folder of a run.
      checkpoint: `"best"`, `"last"`, a step, or a checkpoint's path.
      num_samples: the number of new images from each sampler.
      samplers: a list of `Sampler`s; None for prior, aggregate posterior and Gaussian
        mixture.
      num_fit_examples: the largest number of training images to fit the samplers on, and of
        held-out images to average the KL over.
      num_reconstructions: the number of reconstructions, spread over the evaluation split.
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
    source = _Source(run, seed, num_fit_examples)
    values = np.linspace(-traversal_range, traversal_range, num_traversal_steps, dtype=np.float32)
    arrays = {
        **_draw(run.model, named_samplers, source.embedding("train"), num_samples, seed),
        **_reconstruct(run.model, source, num_reconstructions),
        **_interpolate(run.model, source, num_interpolations, num_interpolation_steps),
        **_traverse(run.model, source, traverse_from, max_traversals, values),
    }
    paths = sample_files.write(run.workdir.path, arrays, seconds_per_frame)
    _report(run, arrays, paths)
    return paths


def _check_at_least(least: int, **settings: Any) -> None:
    for name, value in settings.items():
        if validation.positive_integer(f"sample.{name}", value) < least:
            raise ConfigurationError(
                f"`sample.{name}` must be at least {least}, to show both ends, got {value}"
            )


def _checked_samplers(samplers: Any) -> dict[str, Sampler]:
    """Returns name -> `Sampler`; a repeated name gets a number."""
    if samplers is None:
        samplers = [
            standard_samplers.PriorSampler(),
            standard_samplers.AggregatePosteriorSampler(),
            standard_samplers.GaussianMixtureSampler(),
        ]
    example = "[@PriorSampler(), @GaussianMixtureSampler()]"
    named: dict[str, Sampler] = {}
    for sampler in validation.list_of("sample.samplers", samplers, Sampler, example):
        alike = sum(each.name == sampler.name for each in named.values())
        named[f"{sampler.name}_{alike + 1}" if alike else sampler.name] = sampler
    return named


class _Source:
    """The images of a run and their embeddings.

    Attributes:
      num_examples: of the evaluation split.
      order: the indices of the evaluation split in random order.
    """

    def __init__(self, run: trained.Trained, seed: int, num_fit_examples: int) -> None:
        self._run = run
        self._seed = seed
        self._num_fit_examples = num_fit_examples
        self._splits = {"train": run.split("train"), "evaluation": run.split()}
        self.num_examples = self._splits["evaluation"].num_examples
        self.order = np.random.RandomState(seed).permutation(self.num_examples)

    def embedding(self, split: str) -> Embedding:
        """Embeds `num_fit_examples` images of a split."""
        run = self._run
        examples = Examples(run.model, self._splits[split], run.strategy, run.batch_size, self._seed)
        return embed(examples.spread(self._num_fit_examples))

    def images(self, indices: np.ndarray) -> tf.Tensor:
        """Reads images of the evaluation split."""
        split, dtype = self._splits["evaluation"], self._run.model.variable_dtype
        return traversals.read_images(split, indices, dtype, self._seed)


def _draw(
    model: VAE, samplers: dict[str, Sampler], embedding: Embedding, num_samples: int, seed: int
) -> Arrays:
    arrays = {}
    for name, sampler in samplers.items():
        watchdog.progress(f"the fit of {type(sampler).__name__}")
        with user_code.running(sampler, "fit"):
            sampler.fit(model, embedding, seed)
        with user_code.running(sampler, "sample"):
            latents = np.asarray(sampler.sample(num_samples, seed), np.float32)
        expected = (num_samples, model.num_latents)
        if latents.shape != expected:
            problem = f"must return latents of shape {expected}, it returned {latents.shape}"
            raise user_code.wrong(sampler, "sample", problem)
        arrays[f"samples_{name}_latents"] = latents
        arrays[f"samples_{name}_images"] = traversals.decode(model, latents)
    return arrays


def _reconstruct(model: VAE, source: _Source, num_reconstructions: int) -> Arrays:
    indices = spread_indices(source.num_examples, num_reconstructions)
    inputs = source.images(indices)
    return {
        "reconstruction_indices": indices,
        "reconstruction_inputs": np.asarray(inputs, np.float32),
        "reconstruction_latents": traversals.posterior_centers(model, inputs),
        "reconstruction_images": traversals.reconstruct(model, inputs),
    }


def _interpolate(model: VAE, source: _Source, num_pairs: int, num_steps: int) -> Arrays:
    pairs = _pairs(source.order, num_pairs)
    inputs = source.images(pairs.ravel())
    ends = traversals.posterior_centers(model, inputs).reshape(*pairs.shape, -1)
    arrays = {
        "interpolation_indices": pairs,
        "interpolation_inputs": np.asarray(inputs, np.float32).reshape(*pairs.shape, *inputs.shape[1:]),
    }
    for path in traversals.PATHS:
        latents = traversals.interpolate(ends[:, 0], ends[:, 1], num_steps, path)
        arrays[f"interpolation_{path}_latents"] = latents
        arrays[f"interpolation_{path}_images"] = traversals.decode(model, latents)
    return arrays


def _pairs(order: np.ndarray, num_pairs: int) -> np.ndarray:
    """Makes pairs `[p, 2]` of images, each image in one pair; a single image is paired with itself."""
    num_pairs = max(1, min(num_pairs, len(order) // 2))
    return np.resize(order, (num_pairs, 2))


def _traverse(
    model: VAE, source: _Source, start_from: str, max_traversals: int, values: np.ndarray
) -> Arrays:
    start = traversals.posterior_centers(model, source.images(source.order[:1]))[0]
    if start_from == "prior":
        start = np.zeros_like(start)
    embedding = source.embedding("evaluation")
    dimensions = traversals.most_used(embedding.kl, embedding.center, max_traversals)
    latents = traversals.traverse(start, dimensions, values)
    kl = {} if embedding.kl is None else {"traversal_kl": embedding.kl.mean(axis=0)[dimensions]}
    return {
        "traversal_dimensions": dimensions,
        **{name: value.astype(np.float32) for name, value in kl.items()},
        "traversal_values": values,
        "traversal_start": start,
        "traversal_latents": latents,
        "traversal_images": traversals.decode(model, latents),
    }


def _report(run: trained.Trained, arrays: Arrays, paths: list[pathlib.Path]) -> None:
    labels = sample_files.traversal_labels(arrays)
    lines = [f"model      step {run.step}, {run.checkpoint}", f"traversed  {', '.join(labels)}"]
    for kind, suffix in (("pictures", ".png"), ("moving", ".gif"), ("arrays", ".npz")):
        lines += [f"{kind:9}  {path}" for path in paths if path.suffix == suffix]
    print(printable("\n".join(lines)))
