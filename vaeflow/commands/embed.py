"""Encodes a dataset with a trained model: files of latents, and the projector of TensorBoard."""

import contextlib
import functools

import numpy as np
import tensorflow as tf

from vaeflow import config, registry, trained, validation
from vaeflow.analysis import embedding, projector
from vaeflow.datasets.base import SPLITS
from vaeflow.errors import ConfigurationError
from vaeflow.runs import files


@functools.partial(registry.command, refused=trained.FLAG_ADVICE)
def embed(
    workdir,
    checkpoint="best",
    split="evaluation",
    num_examples=None,
    max_projector_examples=5000,
    batch_size=None,
    seed=0,
):
    """Writes the latents of a split, and sets up the projector of TensorBoard.

    `<workdir>/embeddings/<split>.npz` holds `indices` int64 `[n]`, `mean`,
    `log_variance` and `latents` (a sample of q(z|x)), each `[n, D]`; where the split
    has factors or labels, `factors` int64 `[n, F]` and `factor_names` `[F]`.
    `<split>.csv` beside it has the columns index, the factors, and z00, z01 …, the
    posterior mean, with the digits to read the same numbers back.
    `<workdir>/tensorboard/projector/<split>/` is a run of TensorBoard, whose projector
    shows posterior means as points, with factors and thumbnails. Files of the same
    names are replaced.

    Args:
      workdir: the work folder of a run.
      checkpoint: `"best"`, `"last"`, a step, or a checkpoint's path.
      split: `"train"` or `"evaluation"`.
      num_examples: how many examples, spread evenly over the split; None for all.
      max_projector_examples: how many of them the projector shows at most, spread
        evenly; up to 100,000. From 5,000 up it needs patience.
      batch_size: the global batch size; None for the run's.
      seed: keys the noise of the samples, and of dynamic binarization.

    Returns:
      An `embedding.Embedding`.

    Raises:
      ConfigurationError: a setting is wrong; nothing was written.
      EnvironmentFailure: the disk or the data failed.
    """
    with config.values_checked():
        _check_settings(split, num_examples, max_projector_examples, batch_size, seed)
    run = trained.restore(workdir, checkpoint)
    batch_size = run.checked_batch_size("embed.batch_size", batch_size)
    source = run.split(split)
    embedded = embedding.embed(
        run.model, source, run.dataset.binarization, run.strategy, batch_size, seed, num_examples
    )
    factors, factor_names = _factors(source, embedded.indices)
    shown = embedding.spread_indices(len(embedded.indices), max_projector_examples)
    sprites = projector.sprite_sheet(source, embedded.indices[shown])
    description = (
        f"{len(shown):,} of {source.num_examples:,} images of the {split} split of "
        f"{type(run.dataset).__name__}: means of q(z|x) at step {run.step}"
    )

    with _written(run.workdir, split, description) as (arrays, table, projection):
        _write_arrays(arrays, embedded, factors, factor_names)
        _write_table(table, embedded, factors, factor_names)
        projector.write(
            projection, embedded.mean[shown], embedded.indices[shown], factors[shown], factor_names, sprites
        )
    _report(run, split, description)
    return embedded


def _check_settings(split, num_examples, max_projector_examples, batch_size, seed):
    validation.one_of("embed.split", split, SPLITS)
    if num_examples is not None:
        validation.positive_integer("embed.num_examples", num_examples)
    validation.positive_integer("embed.max_projector_examples", max_projector_examples)
    if max_projector_examples > projector.MAX_EXAMPLES:
        raise ConfigurationError(
            f"`embed.max_projector_examples` must be at most {projector.MAX_EXAMPLES:,}, which is all that "
            f"TensorBoard shows, got {max_projector_examples}"
        )
    if batch_size is not None:
        validation.positive_integer("embed.batch_size", batch_size)
    validation.seed("embed.seed", seed)


def _factors(split, indices):
    """Reads the factors, int64 `[n, F]`, and their F names; F is 0 where there are none."""
    factors = split.factors(indices)
    if factors is None:
        return np.zeros((len(indices), 0), np.int64), ()
    return factors, split.factor_names


def _paths(workdir, split):
    """Where the arrays and the table go, files, and what the projector shows, a folder."""
    arrays = workdir.path / "embeddings" / f"{split}.npz"
    return arrays, arrays.with_suffix(".csv"), workdir.tensorboard / "projector" / split


@contextlib.contextmanager
def _written(workdir, split, description):
    """Gives three other paths to write to, and moves what is there when all of it is whole."""
    paths = _paths(workdir, split)
    try:
        with files.staging(workdir.path, paths[0].parent.name) as folder:
            unfinished = [folder / (path.name if path.suffix else "projector") for path in paths]
            yield unfinished
            for source, path in zip(unfinished, paths, strict=True):
                path.parent.mkdir(parents=True, exist_ok=True)
                files.move(source, path)
            # Last: a TensorBoard that is running reads a run as soon as there is one.
            projector.announce(paths[-1], description)
    except tf.errors.OpError as error:
        raise files.failure(workdir.path, error) from error


def _write_arrays(path, embedded, factors, factor_names):
    arrays = {name: getattr(embedded, name) for name in ("indices", "mean", "log_variance", "latents")}
    if len(factor_names):
        arrays |= {"factors": factors, "factor_names": np.array(factor_names)}
    np.savez(path, **arrays)


def _write_table(path, embedded, factors, factor_names):
    latents = [f"z{dimension:02d}" for dimension in range(embedded.mean.shape[1])]
    names = ["index", *factor_names, *latents]
    projector.write_table(path, [embedded.indices, factors, embedded.mean], names)


def _report(run, split, description):
    arrays, table, projection = _paths(run.workdir, split)
    print(f"model      step {run.step}, {run.checkpoint}")
    print(f"arrays     {arrays}")
    print(f"table      {table}")
    print(f"projector  {projection}")
    print(f"           {description}")
    print(f"to see it  tensorboard --logdir {run.workdir.path}")
    print("           then open http://localhost:6006/#projector, or choose Projector in the menu at the top")
    print("           right; restart a TensorBoard that showed an earlier embedding of this split")
