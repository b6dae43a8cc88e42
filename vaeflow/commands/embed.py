"""Encodes a dataset with a trained model: files of latents, and TensorBoard's projector."""

import contextlib
import functools
import pathlib
import shlex
from collections.abc import Generator, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from vaeflow import config, registry, trained, validation
from vaeflow.analysis import embedding, grids, projector
from vaeflow.analysis.examples import Examples, spread_indices
from vaeflow.datasets.base import ALL_SPLITS, Split
from vaeflow.errors import ConfigurationError
from vaeflow.models.latent_model import LatentModel
from vaeflow.runs import files
from vaeflow.runs.escaping import printable
from vaeflow.runs.workdir import WorkDir


@functools.partial(registry.command, refused=trained.FLAG_ADVICE)
def embed(
    workdir: str,
    checkpoint: str = "best",
    split: str = "evaluation",
    num_examples: int | None = None,
    max_projector_examples: int = 5000,
    batch_size: int | None = None,
    seed: int = 0,
) -> dict[str, embedding.Embedding]:
    """Writes the latents of a split, and sets up TensorBoard's projector.

    `<workdir>/embeddings/<split>.npz` holds `indices` int64 `[n]`, the `binarization` of the images, and
    of each q(z|x) a sample, `latents` `[n, D]`, and its parameters: of a Gaussian `mean` and
    `log_variance`, of codes `codes`, of others what they have; unless it is a Gaussian, also the
    `center`, `[n, D]`, that stands for it; and if it has a closed form, `kl` `[n, U]`, KL(q(z|x) ‖ p(z))
    of each unit in nats. With several groups of latents the names begin with that of the group, as in
    `top_latents`. If the split has factors or labels, there are also `factors` int64 `[n, F]` and
    `factor_names` `[F]`.
    `<split>.csv` next to it has the columns index, the factors, and z00, z01 …, the
    center, with enough digits to read the same numbers back; of several groups those that
    are vectors. Where none is a vector, the values of the last group make one, and of codes the mean
    of their embeddings over the places.
    `<workdir>/tensorboard/projector/<split>/` is a TensorBoard run whose projector
    shows centers as points, with factors and thumbnails. Files of the same
    names are replaced.

    Args:
      workdir: the work folder of a run.
      checkpoint: `"best"`, `"last"`, a step, or a checkpoint's path.
      split: `"train"`, `"evaluation"`, or if the run has one, `"validation"`.
      num_examples: the number of examples, spread evenly over the split; None for all.
      max_projector_examples: the largest number of them that the projector shows, spread
        evenly; up to 100,000. Above 5,000 the projector becomes slow.
      batch_size: the global batch size; None for the run's.
      seed: keys the noise of the samples, and of dynamic binarization.

    Returns:
      Group of latents -> `embedding.Embedding`; the group of a model with one is `"z"`.

    Raises:
      ConfigurationError: a setting is wrong; nothing was written.
      EnvironmentFailure: the disk or the data failed.
    """
    with config.values_checked():
        _check_settings(split, num_examples, max_projector_examples, batch_size, seed)
    trained.share_cores(batch_size)
    run = trained.restore(workdir, checkpoint)
    if not isinstance(run.model, LatentModel):
        raise ConfigurationError(
            f"a {type(run.model).__name__} has no latents, and nothing to embed; give the work folder of a "
            "model with latents"
        )
    batch_size = run.checked_batch_size("embed.batch_size", batch_size)
    source = run.split(split)
    examples = Examples(run.model, source, run.strategy, batch_size, seed)
    embedded = embedding.embed(examples.spread(num_examples))
    indices = next(iter(embedded.values())).indices
    factors, factor_names = _factors(source, indices)
    shown = spread_indices(len(indices), max_projector_examples)
    shows_images = run.model.takes == "images" and grids.can_show(source.shape)
    sprites = projector.sprite_sheet(source, indices[shown]) if shows_images else None
    columns, points = _points(embedded)
    description = (
        f"{len(shown):,} of {source.num_examples:,} images of the {split} split of "
        f"{type(run.dataset).__name__}: centers of q(z|x) at step {run.step}"
    )

    with _written(run.workdir, split, description) as (arrays, table, projection):
        _write_arrays(arrays, embedded, source.binarization, factors, factor_names)
        projector.write_table(table, [indices, factors, points], ["index", *factor_names, *columns])
        projector.write(projection, points[shown], indices[shown], factors[shown], factor_names, sprites)
    _report(run, split, description)
    return embedded


def _check_settings(
    split: Any, num_examples: Any, max_projector_examples: Any, batch_size: Any, seed: Any
) -> None:
    validation.one_of("embed.split", split, ALL_SPLITS)
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


def _factors(split: Split, indices: np.ndarray) -> tuple[np.ndarray, Sequence[str]]:
    """Reads the factors, int64 `[n, F]`, and their F names; F is 0 if the split has none."""
    factors = split.factors(indices)
    if factors is None:
        return np.zeros((len(indices), 0), np.int64), ()
    return factors, split.factor_names


def _paths(workdir: WorkDir, split: str) -> tuple[pathlib.Path, pathlib.Path, pathlib.Path]:
    """Returns the final paths of the arrays, the table and the projector's folder."""
    arrays = workdir.place("embeddings") / f"{split}.npz"
    return arrays, arrays.with_suffix(".csv"), workdir.place("tensorboard", "projector") / split


@contextlib.contextmanager
def _written(workdir: WorkDir, split: str, description: str) -> Generator[list[pathlib.Path]]:
    """Gives three paths to write to, whose content gets its final names when all of it is complete."""
    paths = _paths(workdir, split)
    try:
        with files.staging(workdir.path, paths[0].parent.name) as folder:
            unfinished = [folder / (path.name if path.suffix else "projector") for path in paths]
            yield unfinished
            for source, path in zip(unfinished, paths, strict=True):
                for parent in (path.parent.parent, path.parent):
                    files.make_folder(parent)
                files.move(source, path)
            # Last, because a running TensorBoard reads a run as soon as it appears.
            projector.announce(paths[-1], description)
    except tf.errors.OpError as error:
        raise files.failure(workdir.path, error) from error


def _write_arrays(
    path: pathlib.Path,
    embedded: Mapping[str, embedding.Embedding],
    binarization: str,
    factors: np.ndarray,
    factor_names: Sequence[str],
) -> None:
    arrays = {"binarization": np.array(binarization)}
    for group, of_group in embedded.items():
        named = {"latents": of_group.latents, **of_group.parameters}
        if "mean" not in of_group.parameters:
            named["center"] = of_group.center
        if of_group.kl is not None:
            named["kl"] = of_group.kl
        label = "" if len(embedded) == 1 else f"{group}_"
        arrays |= {"indices": of_group.indices} | {f"{label}{name}": value for name, value in named.items()}
    if len(factor_names):
        arrays |= {"factors": factors, "factor_names": np.array(factor_names)}
    np.savez(path, allow_pickle=False, **arrays)


def _points(embedded: Mapping[str, embedding.Embedding]) -> tuple[list[str], np.ndarray]:
    """Returns one vector for each example, `[n, D]`, and the names of its D numbers."""
    chosen = {group: of_group for group, of_group in embedded.items() if of_group.is_vector}
    chosen = chosen or dict([list(embedded.items())[-1]])
    names, columns = [], []
    for group, of_group in chosen.items():
        center = of_group.center
        if "codes" in of_group.parameters:  # All of them would be thousands.
            center = center.mean(axis=tuple(range(1, center.ndim - 1)))
        columns.append(center.reshape(len(center), -1))
        label = "z" if len(embedded) == 1 else f"{group}_"
        names += [f"{label}{dimension:02d}" for dimension in range(columns[-1].shape[1])]
    return names, np.concatenate(columns, axis=1)


def _report(run: trained.Trained, split: str, description: str) -> None:
    arrays, table, projection = _paths(run.workdir, split)
    lines = f"""\
model      step {run.step}, {run.checkpoint}
arrays     {arrays}
table      {table}
projector  {projection}
           {description}
to see it  tensorboard --logdir {shlex.quote(str(run.workdir.path))}
           then open http://localhost:6006/#projector, or choose Projector in the menu at the top
           right; restart a TensorBoard that showed an earlier embedding of this split"""
    print(printable(lines))
