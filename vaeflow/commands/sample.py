"""Draws from a trained model: new images, reconstructions, interpolations and traversals."""

import functools

import numpy as np

from vaeflow import config, registry, trained, validation
from vaeflow import samplers as standard_samplers
from vaeflow.analysis import grids, traversals
from vaeflow.analysis.embedding import embed, spread_indices
from vaeflow.errors import ConfigurationError
from vaeflow.runs import files
from vaeflow.samplers import Sampler

STARTS = ("data", "prior")

_COLUMNS = 8
_FOLDER = "samples"


@functools.partial(registry.command, refused=trained.FLAG_ADVICE)
def sample(
    workdir,
    checkpoint="best",
    num_samples=64,
    samplers=None,
    num_fit_examples=10000,
    num_reconstructions=32,
    num_interpolations=8,
    num_interpolation_steps=10,
    traverse_from="data",
    traversal_range=3.0,
    num_traversal_steps=11,
    max_traversals=32,
    seconds_per_frame=0.15,
    seed=0,
):
    """Draws from a trained model and writes pictures, animations and the arrays.

    All goes to `<workdir>/samples/`; images are means of p(x|z). `samples-<name>.png`:
    new images, a file for each sampler. `reconstructions.png`: each row of held-out
    images above the row of their reconstructions. `interpolations-linear.png` and
    `-spherical.png`: a row for each pair of held-out images, between the means of
    their posteriors. `traversals.png`: a row for each latent, moved alone; labelled
    with its index and its mean KL in nats, the largest first. The `.gif` files show
    the same in motion, there and back. `samples.npz` holds the arrays, float32 unless
    said, where s stands for the number of steps:

      samples_<name>_latents `[n, D]`, samples_<name>_images `[n, H, W, C]`
      reconstruction_indices int64 `[r]` in the evaluation split, reconstruction_inputs,
        reconstruction_latents `[r, D]` (means), reconstruction_images `[r, H, W, C]`
      interpolation_indices int64 `[p, 2]`, interpolation_inputs `[p, 2, H, W, C]`,
        interpolation_<path>_latents `[p, s, D]`, interpolation_<path>_images
        `[p, s, H, W, C]`, the path being linear or spherical
      traversal_dimensions int64 `[k]`, traversal_kl `[k]`, traversal_values `[s]`,
        traversal_start `[D]`, traversal_latents `[k, s, D]`, traversal_images
        `[k, s, H, W, C]`

    Args:
      workdir: the work folder of a run.
      checkpoint: `"best"`, `"last"`, a step, or a checkpoint's path.
      num_samples: how many new images from each sampler.
      samplers: a list of `Sampler`s; None for prior, aggregate posterior and Gaussian
        mixture.
      num_fit_examples: how many training images the samplers are fitted on, and how
        many held-out images the KL is a mean over; fewer where there are fewer.
      num_reconstructions: how many, spread over the evaluation split.
      num_interpolations: how many pairs; fewer where the evaluation split is smaller.
      num_interpolation_steps: images on the way, with both ends.
      traverse_from: `"data"`, the posterior's mean of a held-out image; or `"prior"`,
        all latents 0.
      traversal_range: latents move from minus this to plus this.
      num_traversal_steps: images on the way.
      max_traversals: how many latents are traversed at most.
      seconds_per_frame: how fast the animations are.
      seed: chooses images and seeds fits and draws.

    Returns:
      The paths of the files.

    Raises:
      ConfigurationError: a setting is wrong; nothing was written.
      EnvironmentFailure: the disk or the data failed.
    """
    with config.values_checked():
        validation.positive_integer("sample.num_samples", num_samples)
        samplers = _checked_samplers(samplers)
        validation.positive_integer("sample.num_fit_examples", num_fit_examples)
        validation.positive_integer("sample.num_reconstructions", num_reconstructions)
        validation.positive_integer("sample.num_interpolations", num_interpolations)
        _check_steps("sample.num_interpolation_steps", num_interpolation_steps)
        validation.one_of("sample.traverse_from", traverse_from, STARTS)
        validation.positive_number("sample.traversal_range", traversal_range)
        _check_steps("sample.num_traversal_steps", num_traversal_steps)
        validation.positive_integer("sample.max_traversals", max_traversals)
        validation.positive_number("sample.seconds_per_frame", seconds_per_frame)
        validation.seed("sample.seed", seed)

    run = trained.restore(workdir, checkpoint)
    train_split, evaluation_split = run.split("train"), run.split()
    # Each image of the evaluation split once, in random order.
    order = np.random.RandomState(seed).permutation(evaluation_split.num_examples)

    def embedding_of(split):
        binarization = run.dataset.binarization
        return embed(run.model, split, binarization, run.strategy, run.batch_size, seed, num_fit_examples)

    def read_images(indices):
        binarization, dtype = run.dataset.binarization, run.model.variable_dtype
        return traversals.read_images(evaluation_split, indices, binarization, dtype, seed)

    arrays = _draw(run.model, samplers, embedding_of(train_split), num_samples, seed)
    indices = spread_indices(evaluation_split.num_examples, num_reconstructions)
    arrays |= _reconstruct(run.model, indices, read_images(indices))
    pairs = _pairs(order, num_interpolations)
    arrays |= _interpolate(run.model, pairs, read_images(pairs.ravel()), num_interpolation_steps)
    start = traversals.posterior_means(run.model, read_images(order[:1]))[0]
    if traverse_from == "prior":
        start = np.zeros_like(start)
    values = np.linspace(-traversal_range, traversal_range, num_traversal_steps, dtype=np.float32)
    kl = traversals.mean_kl(run.model, embedding_of(evaluation_split))
    arrays |= _traverse(run.model, start, kl, max_traversals, values)
    paths = _write(run.workdir.path, arrays, seconds_per_frame)
    _report(run, arrays, paths)
    return paths


def _check_steps(name, value):
    if validation.positive_integer(name, value) < 2:
        raise ConfigurationError(f"`{name}` must be at least 2, to show both ends, got {value}")


def _checked_samplers(samplers):
    """Returns name -> `Sampler`; a name that comes again gets a number."""
    if samplers is None:
        samplers = [
            standard_samplers.PriorSampler(),
            standard_samplers.AggregatePosteriorSampler(),
            standard_samplers.GaussianMixtureSampler(),
        ]
    example = "[@PriorSampler(), @GaussianMixtureSampler()]"
    named = {}
    for sampler in validation.list_of("sample.samplers", samplers, Sampler, example):
        alike = sum(each.name == sampler.name for each in named.values())
        named[f"{sampler.name}_{alike + 1}" if alike else sampler.name] = sampler
    return named


def _draw(model, samplers, embedding, num_samples, seed):
    arrays = {}
    for name, sampler in samplers.items():
        sampler.fit(model, embedding, seed)
        latents = np.asarray(sampler.sample(num_samples, seed), np.float32)
        expected = (num_samples, model.num_latents)
        if latents.shape != expected:
            raise ConfigurationError(
                f"`{type(sampler).__name__}.sample` must return latents of shape {expected}, it returned "
                f"{latents.shape}"
            )
        arrays[f"samples_{name}_latents"] = latents
        arrays[f"samples_{name}_images"] = traversals.decode(model, latents)
    return arrays


def _reconstruct(model, indices, inputs):
    return {
        "reconstruction_indices": indices,
        "reconstruction_inputs": np.asarray(inputs, np.float32),
        "reconstruction_latents": traversals.posterior_means(model, inputs),
        "reconstruction_images": traversals.reconstruct(model, inputs),
    }


def _pairs(order, num_pairs):
    """Makes pairs `[p, 2]` of images, each in one pair; a single image with itself."""
    num_pairs = max(1, min(num_pairs, len(order) // 2))
    return np.resize(order, (num_pairs, 2))


def _interpolate(model, pairs, inputs, num_steps):
    ends = traversals.posterior_means(model, inputs).reshape(*pairs.shape, -1)
    arrays = {
        "interpolation_indices": pairs,
        "interpolation_inputs": np.asarray(inputs, np.float32).reshape(*pairs.shape, *inputs.shape[1:]),
    }
    for path in traversals.PATHS:
        latents = traversals.interpolate(ends[:, 0], ends[:, 1], num_steps, path)
        arrays[f"interpolation_{path}_latents"] = latents
        arrays[f"interpolation_{path}_images"] = traversals.decode(model, latents)
    return arrays


def _traverse(model, start, kl, max_traversals, values):
    dimensions = np.argsort(-kl, kind="stable")[:max_traversals]
    latents = traversals.traverse(start, dimensions, values)
    return {
        "traversal_dimensions": dimensions,
        "traversal_kl": kl[dimensions].astype(np.float32),
        "traversal_values": values,
        "traversal_start": start,
        "traversal_latents": latents,
        "traversal_images": traversals.decode(model, latents),
    }


def _pictures(arrays):
    """Draws the grids: file name -> pixels; of an animation, a list of frames."""
    pictures = {}
    for name, drawn in arrays.items():
        if name.startswith("samples_") and name.endswith("_images"):
            sampler = name.removeprefix("samples_").removesuffix("_images")
            pictures[f"samples-{sampler}.png"] = grids.grid(grids.enlarge(drawn, _COLUMNS), _COLUMNS)
    rows = grids.in_pairs_of_rows(arrays["reconstruction_inputs"], arrays["reconstruction_images"], _COLUMNS)
    pictures["reconstructions.png"] = grids.grid(grids.enlarge(rows, _COLUMNS), _COLUMNS)
    for path in traversals.PATHS:
        drawn = arrays[f"interpolation_{path}_images"]
        pictures[f"interpolations-{path}.png"] = grids.rows(drawn)
        pictures[f"interpolations-{path}.gif"] = grids.frames(drawn)
    labels = [
        _label(*pair) for pair in zip(arrays["traversal_dimensions"], arrays["traversal_kl"], strict=True)
    ]
    pictures["traversals.png"] = grids.rows(arrays["traversal_images"], row_labels=labels)
    pictures["traversals.gif"] = grids.frames(arrays["traversal_images"], captions=labels)
    return pictures


def _label(dimension, kl):
    return f"z{dimension:02d}  {kl:.2f}"


def _write(workdir, arrays, seconds_per_frame):
    """Writes all files or none, and returns their paths."""
    pictures = _pictures(arrays)
    folder = workdir / _FOLDER
    with files.staging(workdir, _FOLDER) as unfinished:
        for name, pixels in pictures.items():
            if name.endswith(".gif"):
                grids.write_gif(unfinished / name, pixels, seconds_per_frame)
            else:
                grids.write_png(unfinished / name, pixels)
        np.savez_compressed(unfinished / "samples.npz", **arrays)
        folder.mkdir(exist_ok=True)
        paths = [folder / name for name in (*pictures, "samples.npz")]
        for path in paths:
            files.move(unfinished / path.name, path)
    return paths


def _report(run, arrays, paths):
    labels = [
        _label(*pair) for pair in zip(arrays["traversal_dimensions"], arrays["traversal_kl"], strict=True)
    ]
    print(f"model      step {run.step}, {run.checkpoint}")
    print(f"KL (nats)  {', '.join(labels)}")
    for kind, suffix in (("pictures", ".png"), ("moving", ".gif"), ("arrays", ".npz")):
        for path in paths:
            if path.suffix == suffix:
                print(f"{kind:9}  {path}")
