"""The arrays of `sample`: new images, reconstructions, interpolations and traversals."""

import functools
from collections.abc import Mapping
from typing import Any

import numpy as np

from vaeflow import trained
from vaeflow.analysis import traversals
from vaeflow.analysis.embedding import Embedding, embed
from vaeflow.analysis.examples import Examples, spread_indices
from vaeflow.commands.sample_files import Arrays
from vaeflow.distributions import is_discrete
from vaeflow.errors import ConfigurationError, user_code
from vaeflow.models.batches import Batch
from vaeflow.models.passes import Draw
from vaeflow.runs import watchdog
from vaeflow.samplers import AggregatePosteriorSampler, GaussianMixtureSampler, PriorSampler, Sampler


class Source:
    """A trained model, the images of its run and their embeddings.

    Args:
      run: the `Trained`.
      seed: chooses images, and keys noise and fits.
      num_fit_examples: the largest number of images to embed.

    Attributes:
      model: of the run.
      evaluation: the evaluation split.
      order: the indices of the evaluation split in random order.
    """

    def __init__(self, run: trained.Trained, seed: int, num_fit_examples: int) -> None:
        self.model = run.model
        self.seed = seed
        self.evaluation = run.split()
        self.order = np.random.RandomState(seed).permutation(self.evaluation.num_examples)
        self._run = run
        self._train = run.split("train")
        self._num_fit_examples = num_fit_examples

    @functools.cached_property
    def train_embedding(self) -> dict[str, Embedding]:
        """The embedding of training images, group -> `Embedding`."""
        return self._embedded(self._train)

    @functools.cached_property
    def evaluation_embedding(self) -> dict[str, Embedding]:
        """The embedding of held-out images, group -> `Embedding`."""
        return self._embedded(self.evaluation)

    @functools.cached_property
    def draws(self) -> dict[str, Draw]:
        """The latents of one held-out image, group -> `Draw`, which show of what form they are."""
        return self.model.centred(self.batch(self.order[:1])).draws

    @property
    def has_one_vector(self) -> bool:
        """Whether the latents are one vector of numbers."""
        first, *others = self.draws.values()
        return not others and first.value.shape.rank == 2 and not is_discrete(first.posterior)

    @property
    def can_fit(self) -> bool:
        """Whether samplers can be fitted to the latents, which are then those of any label."""
        return self.has_one_vector and "labels" not in self.model.reads

    def batch(self, indices: np.ndarray) -> Batch:
        """Reads images of the evaluation split, and their labels for a model that reads them."""
        model = self.model
        return traversals.read_batch(self.evaluation, indices, model.variable_dtype, self.seed, model.reads)

    def _embedded(self, split: Any) -> dict[str, Embedding]:
        run = self._run
        examples = Examples(run.model, split, run.strategy, run.batch_size, self.seed)
        return embed(examples.spread(self._num_fit_examples))


def what_is_left_out(source: Source) -> list[str]:
    """Says which of the pictures have no meaning for the model, for people."""
    left_out = []
    if not source.has_one_vector:
        left_out.append("traversals, and the samplers that are fitted: the latents are no single vector")
    elif not source.can_fit:
        left_out.append("the samplers that are fitted: their latents would be of other labels")
    if not _can_interpolate(source):
        left_out.append("interpolations: the latents are codes")
    return left_out


def draw(
    source: Source, samplers: Mapping[str, Sampler] | None, num_samples: int, labels: np.ndarray | None
) -> Arrays:
    """Draws new images from each sampler; None for all that serve the model.

    Raises:
      ConfigurationError: a sampler needs one vector of latents without labels, and the model has others.
    """
    if samplers is None:
        samplers = {"prior": PriorSampler()}
        if source.can_fit:
            samplers |= {
                "aggregate_posterior": AggregatePosteriorSampler(),
                "gaussian_mixture": GaussianMixtureSampler(),
            }
    arrays = {} if labels is None else {"samples_labels": labels}
    for name, sampler in samplers.items():
        latents = _drawn_latents(source, sampler, num_samples, labels)
        arrays |= _by_group(f"samples_{name}_latents", latents)
        arrays[f"samples_{name}_images"] = traversals.decode(source.model, latents, labels)
    return arrays


def _drawn_latents(
    source: Source, sampler: Sampler, num_samples: int, labels: np.ndarray | None
) -> dict[str, np.ndarray]:
    model, seed = source.model, source.seed
    watchdog.progress(f"the fit of {type(sampler).__name__}")
    if isinstance(sampler, PriorSampler):
        sampler.fit(model, None, seed)
        return sampler.sample_latents(num_samples, seed, labels)
    if not source.can_fit:
        raise ConfigurationError(
            f"{type(sampler).__name__} needs latents that are one vector and no labels, this "
            f"{type(model).__name__} has others; set `sample.samplers = [@PriorSampler()]`"
        )
    embedding = source.train_embedding[model.sole_group]
    with user_code.running(sampler, "fit"):
        sampler.fit(model, embedding, seed)
    with user_code.running(sampler, "sample"):
        latents = np.asarray(sampler.sample(num_samples, seed), np.float32)
    expected = (num_samples, embedding.center.shape[1])
    if latents.shape != expected:
        problem = f"must return latents of shape {expected}, it returned {latents.shape}"
        raise user_code.wrong(sampler, "sample", problem)
    return {model.sole_group: latents}


def reconstruct(source: Source, num_reconstructions: int) -> Arrays:
    """Reconstructs images that are spread over the evaluation split."""
    indices = spread_indices(source.evaluation.num_examples, num_reconstructions)
    batch = source.batch(indices)
    return {
        "reconstruction_indices": indices,
        "reconstruction_inputs": np.asarray(batch["images"], np.float32),
        **_by_group("reconstruction_latents", traversals.posterior_centers(source.model, batch)),
        "reconstruction_images": traversals.reconstruct(source.model, batch),
    }


def reconstruct_by_groups(source: Source, num_reconstructions: int, most_groups: int) -> Arrays:
    """Reconstructs the same images from their first groups of latents, of a model with several.

    The others are the centers of p given these. Of many groups some numbers of them are chosen, evenly.
    """
    count = len(source.draws)
    if count == 1:
        return {}
    chosen = spread_indices(count, most_groups) + 1
    batch = source.batch(spread_indices(source.evaluation.num_examples, num_reconstructions))
    drawn = [traversals.reconstruct(source.model, batch, int(number)) for number in chosen]
    return {"reconstruction_num_groups": chosen, "reconstruction_group_images": np.stack(drawn, axis=1)}


def interpolate(source: Source, num_pairs: int, num_steps: int) -> Arrays:
    """Interpolates between the centers of pairs of held-out images, with the labels of the first."""
    if not _can_interpolate(source):
        return {}
    pairs = _pairs(source.order, num_pairs)
    batch = source.batch(pairs.ravel())
    centers = traversals.posterior_centers(source.model, batch)
    images = np.asarray(batch["images"], np.float32)
    arrays = {
        "interpolation_indices": pairs,
        "interpolation_inputs": images.reshape(*pairs.shape, *images.shape[1:]),
    }
    for path in traversals.PATHS:
        latents = {name: _paths(ends, pairs, num_steps, path) for name, ends in centers.items()}
        rows = {name: value.reshape(-1, *value.shape[2:]) for name, value in latents.items()}
        labels = np.repeat(batch["labels"][::2], num_steps, axis=0) if "labels" in batch else None
        drawn = traversals.decode(source.model, rows, labels)
        arrays |= _by_group(f"interpolation_{path}_latents", latents)
        arrays[f"interpolation_{path}_images"] = drawn.reshape(len(pairs), num_steps, *drawn.shape[1:])
    return arrays


def _can_interpolate(source: Source) -> bool:
    return not any(is_discrete(draw.posterior) for draw in source.draws.values())


def _paths(ends: np.ndarray, pairs: np.ndarray, num_steps: int, path: str) -> np.ndarray:
    """Interpolates `[2 p, …]`, whose rows are pairs: `[p, steps, …]`."""
    flat = ends.reshape(*pairs.shape, -1)
    between = traversals.interpolate(flat[:, 0], flat[:, 1], num_steps, path)
    return between.reshape(len(pairs), num_steps, *ends.shape[1:])


def _pairs(order: np.ndarray, num_pairs: int) -> np.ndarray:
    """Makes pairs `[p, 2]` of images, each image in one pair; a single image is paired with itself."""
    num_pairs = max(1, min(num_pairs, len(order) // 2))
    return np.resize(order, (num_pairs, 2))


def traverse(source: Source, start_from: str, max_traversals: int, values: np.ndarray) -> Arrays:
    """Moves each latent of a held-out image alone, those that are used most first."""
    if not source.has_one_vector:
        return {}
    model, batch = source.model, source.batch(source.order[:1])
    start = traversals.posterior_centers(model, batch)[model.sole_group][0]
    if start_from == "prior":
        start = np.zeros_like(start)
    embedding = source.evaluation_embedding[model.sole_group]
    dimensions = traversals.most_used(embedding.kl, embedding.center, max_traversals)
    latents = traversals.traverse(start, dimensions, values)
    kl = {} if embedding.kl is None else {"traversal_kl": embedding.kl.mean(axis=0)[dimensions]}
    labels = batch["labels"].numpy() if "labels" in batch else None
    return {
        "traversal_dimensions": dimensions,
        **{name: value.astype(np.float32) for name, value in kl.items()},
        "traversal_values": values,
        "traversal_start": start,
        "traversal_latents": latents,
        "traversal_images": traversals.decode_vectors(model, latents, labels),
    }


def _by_group(name: str, latents: Mapping[str, np.ndarray]) -> Arrays:
    """Names the latents of each group; those of a model with one need no name of a group."""
    values = {group: np.asarray(value, np.float32) for group, value in latents.items()}
    if len(values) == 1:
        return {name: next(iter(values.values()))}
    return {f"{name}_{group}": value for group, value in values.items()}
