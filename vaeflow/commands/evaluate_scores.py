"""Computes the disentanglement scores of a trained model."""

import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from vaeflow import trained
from vaeflow.analysis import embedding
from vaeflow.analysis.examples import Examples
from vaeflow.datasets import Split, pipeline
from vaeflow.errors import ConfigurationError, DataError, user_code
from vaeflow.metrics.disentanglement import FactorGrid, FreshImages, Pool, Representations, Score
from vaeflow.models.latent_model import LatentModel
from vaeflow.models.passes import Centred
from vaeflow.runs import machine, watchdog
from vaeflow.runs.progress_line import ProgressLine

# Encoded at a time by a replica: one size, since a device may round a batch of another size differently,
# and a decision tree may then decide otherwise.
_EXAMPLES_PER_REPLICA = 64


class Scores:
    """The disentanglement scores of a model, each on the images that its protocol chooses.

    The figures depend on the seed alone, not on the batch size, the number of replicas or of processes.

    Args:
      run: the model.
      scores: a list of `Score`s.
      split: the split whose images make the pool.
      seed: keys the choice of images, the draws and the estimators.

    Raises:
      ConfigurationError: the model's latents are not one vector, or there are no factors, or no images
        for given factors where a score needs them.
    """

    def __init__(self, run: trained.Trained, scores: Sequence[Score], split: Split, seed: int):
        self._run, self._scores, self._split, self._seed = run, tuple(scores), split, seed
        self._grid = None
        if not scores:
            return
        if any(score.protocol == "published" for score in scores):
            self._grid = _grid_of(run)
        if not split.factor_names and any(score.protocol == "pool" for score in scores):
            raise ConfigurationError(
                f"{_named(scores)} compares latents with factors of the images, and those of "
                f"{type(run.dataset).__name__} have none; leave `evaluate.scores` out, or give labels "
                "(docs/data.md)"
            )
        _check_latents(run, self._examples(split), scores)

    def measure(self) -> tuple[dict[str, float], list[str]]:
        """Computes the scores.

        Returns:
          Name with its conditions, e.g. `mig[none,pool,n=10000]` -> figure; and what was left out, for
          people.

        Raises:
          ConfigurationError: a score is not defined for these factors.
          DataError: an image or a label cannot be read.
          TrainingDiverged: a latent is not finite.
        """
        results: dict[str, float] = {}
        made: dict[tuple[str, int], Representations] = {}
        total = len(self._scores)
        with ProgressLine(every_seconds=10, stays=False) as line:
            for number, score in enumerate(self._scores):
                name = type(score).__name__
                watchdog.progress(f"the score {name}")
                line.update([f"the score {name}, {number + 1} of {total}"], number / total)
                asked = (score.protocol, score.num_points)
                if asked not in made:
                    made[asked] = self._representations(*asked)
                of_points = f"n={len(made[asked].codes)}"
                conditions = [self._split.binarization, score.protocol, of_points, *score.conditions()]
                for key, value in _measured(score, made[asked], self._seed).items():
                    results[f"{key}[{','.join(conditions)}]"] = value
        left_out = dict.fromkeys(factor for each in made.values() for factor in each.left_out)
        said = "in the scores, since the images have one value of it"
        return results, [f"the factor {factor!r} {said}" for factor in left_out]

    def _representations(self, protocol: str, num_points: int) -> Representations:
        """Encodes the images that a protocol chooses."""
        rng = np.random.default_rng((self._seed, zlib.crc32(protocol.encode())))
        split = self._split if self._grid is None or protocol == "pool" else self._grid
        examples = self._examples(split)
        described = {
            "factor_names": split.factor_names,
            "factor_sizes": split.factor_sizes,
            "num_processes": machine.num_cores() or 1,
        }

        def encode(indices: np.ndarray) -> embedding.Embedding:
            (sole,) = embedding.embed(examples.at(indices)).values()
            return sole

        if protocol == "published":
            place = f"`{type(self._run.dataset).__name__}.load_grid`"
            grid = FactorGrid(_factors(split, np.arange(split.num_examples)), place)
            return FreshImages(grid, encode, num_points, rng, **described)
        # Not evenly spaced: with a step of 32 sprites, the position grows with the index and tells the shape.
        count = min(num_points, split.num_examples)
        indices = np.sort(rng.choice(split.num_examples, count, replace=False))
        return Pool(encode(indices), _factors(split, indices), **described)

    def _examples(self, split: Split) -> Examples:
        batch_size = _EXAMPLES_PER_REPLICA * self._run.strategy.num_replicas_in_sync
        return Examples(self._run.model, split, self._run.strategy, batch_size, self._seed)


def _grid_of(run: trained.Trained) -> Split:
    grid = pipeline.read_grid(run.dataset)
    if grid is None or not grid.factor_names:
        raise ConfigurationError(
            f"the protocol 'published' needs an image for given factors, which {type(run.dataset).__name__} "
            "cannot make; use protocol = 'pool', or `load_grid` in a dataset of your own"
        )
    return grid


def _check_latents(run: trained.Trained, examples: Examples, scores: Sequence[Score]) -> None:
    """Checks that the latents of a model are one vector."""
    model = run.model
    wanted = f"{_named(scores)} reads one vector of latents"
    if not isinstance(model, LatentModel):
        raise ConfigurationError(
            f"{wanted}, and a {type(model).__name__} has none; leave `evaluate.scores` out"
        )
    batch: Any = examples.blank_batch()
    drawn = embedding.draws(model, batch, model.infer(batch), Centred)
    shapes = {name: tuple(draw.value.shape[1:]) for name, draw in drawn.items()}
    sole = next(iter(drawn.values()))
    if len(drawn) > 1 or len(sole.value.shape) != 2 or "codes" in sole.posterior.parameters:
        listed = ", ".join(f"{name} of {' x '.join(map(str, shape))}" for name, shape in shapes.items())
        kind = " of codes" if "codes" in sole.posterior.parameters else ""
        raise ConfigurationError(
            f"{wanted}, and this {type(model).__name__} has {listed}{kind}; leave `evaluate.scores` out"
        )


def _named(scores: Sequence[Score]) -> str:
    return f"the score {type(scores[0]).__name__}"


def _factors(split: Split, indices: np.ndarray) -> np.ndarray:
    """Reads the labels of some images, int64 `[n, F]`."""
    with user_code.running(split, "factors", DataError), pipeline.readable_errors():
        return split.labels(tf.constant(indices, tf.int64)).numpy()


def _measured(score: Score, representations: Representations, seed: int) -> dict[str, float]:
    """Returns what a score gives, a dict of floats."""
    with user_code.running(score, "measure"):
        named = score.measure(representations, seed)
    if not isinstance(named, Mapping) or not all(isinstance(value, (float, int)) for value in named.values()):
        problem = f"must return a dict, name -> float, it returned {named!r}"
        raise user_code.wrong(score, "measure", problem)
    return {name: float(value) for name, value in named.items()}
