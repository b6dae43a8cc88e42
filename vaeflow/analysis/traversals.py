"""Reconstructions, interpolations and traversals of a model, as arrays."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from vaeflow import validation
from vaeflow.datasets import pipeline, stored_batches
from vaeflow.runs import watchdog

if TYPE_CHECKING:
    from vaeflow.datasets.base import Split
    from vaeflow.models.batches import Batch
    from vaeflow.models.latent_model import LatentModel
    from vaeflow.models.vae import VAE

PATHS = ("linear", "spherical")

_BATCH_SIZE = 256
# Two directions count as parallel or antiparallel if the sine of their angle is below this.
_LEAST_SINE = 1e-9


def read_batch(
    split: Split, indices: npt.ArrayLike, dtype: str, seed: int = 0, reads: Sequence[str] = ()
) -> Batch:
    """Reads examples as the input of a model.

    Args:
      split: a `Split`.
      indices: of the examples, integers `[n]`.
      dtype: of the images, float32 or float64.
      seed: keys the draws of dynamic binarization.
      reads: what the model takes besides images.

    Returns:
      A batch with images `[n, H, W, C]` in [0, 1].

    Raises:
      DataError: an example cannot be read.
    """
    with pipeline.readable_errors():
        stored = stored_batches.stored_batch(split, tf.constant(np.asarray(indices), tf.int64), reads)
    with pipeline.keyed_batch(split, stored, dtype, seed, "images", 0, 0) as batch:
        return batch


def reconstruct(model: LatentModel, batch: Batch, num_groups: int | None = None) -> np.ndarray:
    """Reconstructs a batch of n images.

    Args:
      model: a built model.
      batch: as `read_batch` gives it.
      num_groups: from how many groups of latents, the first ones; None for all. See
        `LatentModel.reconstruct`.

    Returns:
      The means of p(x|z), clipped to [0, 1], NumPy float32 `[n, H, W, C]`.
    """
    function = model if num_groups is None else lambda part: model.reconstruct(part, num_groups)
    return np.clip(_in_batches(function, batch), 0.0, 1.0)


def posterior_centers(model: LatentModel, batch: Batch) -> dict[str, np.ndarray]:
    """Returns the centers of q(z|x), of a Gaussian its mean, group -> NumPy float32 `[n, …]`."""

    return _in_batches(
        lambda part: {name: draw.value for name, draw in model.centred(part).draws.items()}, batch
    )


def decode(
    model: LatentModel, latents: dict[str, np.ndarray], labels: np.ndarray | None = None
) -> np.ndarray:
    """Decodes latents on one device, batch by batch.

    Args:
      model: a built model.
      latents: group -> NumPy `[n, …]`.
      labels: int64 `[n, F]`, for a model that reads them.

    Returns:
      The means of p(x|z), clipped to [0, 1], NumPy float32 `[n, H, W, C]`.
    """
    rows: dict[str, Any] = {name: tf.constant(value, model.variable_dtype) for name, value in latents.items()}
    rows = {"latents": rows} | ({} if labels is None else {"labels": tf.constant(labels, tf.int64)})
    images = _in_batches(lambda part: model.decode(part["latents"], part.get("labels")).mean, rows)
    return np.clip(images, 0.0, 1.0)


def decode_codes(model: VAE, codes: np.ndarray, labels: np.ndarray | None = None) -> np.ndarray:
    """Decodes codes, int32 `[n, h, w, G]`, with labels for a model that reads them; see `decode`."""
    rows: dict[str, Any] = {"codes": tf.constant(codes)}
    if "labels" in model.reads:
        rows["labels"] = tf.constant(np.asarray(labels), tf.int64)
    images = _in_batches(lambda part: model.decode_codes(part["codes"], part.get("labels")).mean, rows)
    return np.clip(images, 0.0, 1.0)


def decode_vectors(model: LatentModel, latents: np.ndarray, labels: np.ndarray | None = None) -> np.ndarray:
    """Decodes vectors of a model with one group: `[…, D]` to `[…, H, W, C]`; see `decode`."""
    leading = latents.shape[:-1]
    if labels is not None:
        labels = np.broadcast_to(labels, (*leading, labels.shape[-1])).reshape(-1, labels.shape[-1])
    images = decode(model, {model.sole_group: latents.reshape(-1, latents.shape[-1])}, labels)
    return images.reshape(*leading, *images.shape[1:])


def most_used(kl: np.ndarray | None, centers: np.ndarray, most: int) -> np.ndarray:
    """Orders latent dimensions, those that say most about the images first.

    Args:
      kl: of each example and dimension, in nats, `[n, D]`; None where it is unknown, and the
        variance of the centers decides.
      centers: of the posteriors, `[n, D]`.
      most: the largest number of dimensions.

    Returns:
      int64 `[k]`.
    """
    use = np.var(centers, axis=0) if kl is None else np.mean(kl, axis=0)
    return np.argsort(-use, kind="stable")[:most]


def row_labels(dimensions: Iterable[int], kl: np.ndarray | None) -> list[str]:
    """Labels the rows of traversals: with the number of the latent, and its KL in nats where it is known.

    Args:
      dimensions: the k latents.
      kl: of each of these, `[k]`, or None.
    """
    if kl is None:
        return [f"z{dimension:02d}" for dimension in dimensions]
    return [f"z{dimension:02d}  {each:.2f}" for dimension, each in zip(dimensions, kl, strict=True)]


def traverse(start: np.ndarray, dimensions: Sequence[int] | np.ndarray, values: npt.ArrayLike) -> np.ndarray:
    """Moves one latent dimension at a time.

    Args:
      start: latents `[D]`, at which the other dimensions stay.
      dimensions: the k dimensions to move, in order.
      values: the s values that each takes in turn.

    Returns:
      Latents of the dtype of `start`, `[k, s, D]`.
    """
    latents = np.tile(start, (len(dimensions), np.size(values), 1))
    for row, dimension in enumerate(dimensions):
        latents[row, :, dimension] = values
    return latents


def interpolate(starts: np.ndarray, ends: np.ndarray, num_steps: int, path: str = "linear") -> np.ndarray:
    """Interpolates between pairs of latents.

    Args:
      starts: latents `[n, D]`.
      ends: the same.
      num_steps: equidistant points on each path, including both ends; 2 or more.
      path: `"linear"` or `"spherical"`, see `slerp`.

    Returns:
      Latents of the dtype of `starts`, `[n, num_steps, D]`.
    """
    step = {"linear": lerp, "spherical": slerp}[validation.one_of("path", path, PATHS)]
    fractions = np.linspace(0.0, 1.0, num_steps)
    return np.stack([step(start, end, fractions) for start, end in zip(starts, ends, strict=True)])


def lerp(start: np.ndarray, end: np.ndarray, fractions: npt.ArrayLike) -> np.ndarray:
    """Interpolates on the straight line; arguments and result as for `slerp`."""
    weights = np.asarray(fractions, np.float64)[:, None]
    # This form is exact at both ends.
    return ((1.0 - weights) * start + weights * end).astype(start.dtype)


def slerp(start: np.ndarray, end: np.ndarray, fractions: npt.ArrayLike) -> np.ndarray:
    """Interpolates on the sphere (White 2016, arXiv:1609.04468, section 2.1).

    In many dimensions a Gaussian lies near a sphere, and a straight line would cross its
    inside. The direction turns by equal angles in the plane of the two vectors, and the
    length changes linearly. For vectors of equal length this is White's formula; for
    others, unlike that formula, the length stays between the two. Opposite vectors turn
    through the axis farthest from theirs. In 1 dimension, or if a vector is 0, the path
    is the straight line.

    Args:
      start: a vector `[D]`.
      end: the same.
      fractions: `[s]`, 0 at `start` and 1 at `end`.

    Returns:
      `[s, D]` of the dtype of `start`.
    """
    fractions = np.asarray(fractions, np.float64)
    lengths = np.linalg.norm(np.stack([start, end]).astype(np.float64), axis=1)
    if len(start) == 1 or not lengths.all():
        return lerp(start, end, fractions)
    one, other = start / lengths[0], end / lengths[1]
    # By half-angles (Kahan): an arc cosine is inaccurate near 0 and π.
    angle = 2.0 * np.arctan2(np.linalg.norm(one - other), np.linalg.norm(one + other))
    angles = (fractions * angle)[:, None]
    directions = np.cos(angles) * one + np.sin(angles) * _perpendicular(one, other)
    length = lerp(lengths[:1], lengths[1:], fractions)
    result = (length * directions).astype(start.dtype)
    result[fractions == 0.0], result[fractions == 1.0] = start, end
    return result


def _perpendicular(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """The unit vector perpendicular to `one` in the direction of `other`, or any if that has none."""
    rest = other - np.dot(other, one) * one
    if np.linalg.norm(rest) < _LEAST_SINE:
        rest = np.zeros_like(one)
        rest[np.argmin(np.abs(one))] = 1.0
    rest -= np.dot(rest, one) * one  # Once more, since rounding matters if little is left.
    return rest / np.linalg.norm(rest)


def _in_batches(function: Callable[[Any], Any], values: Any) -> Any:
    """Calls a function of a nest of tensors on parts of their rows; returns a nest of float32."""
    parts, count = [], len(tf.nest.flatten(values)[0])
    for first in range(0, count, _BATCH_SIZE):
        watchdog.progress(f"images {first} and on of {count}")
        rows = slice(first, first + _BATCH_SIZE)
        parts.append(function(tf.nest.map_structure(lambda value, rows=rows: value[rows], values)))
    return tf.nest.map_structure(
        lambda *each: np.concatenate([tf.cast(part, tf.float32).numpy() for part in each]), *parts
    )
