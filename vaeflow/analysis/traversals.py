"""Reconstructions, interpolations and traversals of a model, as arrays."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from vaeflow import random, validation
from vaeflow.datasets import pipeline
from vaeflow.runs import watchdog

if TYPE_CHECKING:
    from vaeflow.datasets.base import Split
    from vaeflow.models.vae import VAE

PATHS = ("linear", "spherical")

_BATCH_SIZE = 256
# Two directions count as parallel or antiparallel if the sine of their angle is below this.
_LEAST_SINE = 1e-9


def read_images(split: Split, indices: npt.ArrayLike, dtype: str | tf.DType, seed: int = 0) -> tf.Tensor:
    """Reads examples as the input of a model.

    Args:
      split: a `Split`.
      indices: of the examples, integers `[n]`.
      dtype: of the result, float32 or float64.
      seed: keys the draws of dynamic binarization.

    Returns:
      A tensor `[n, H, W, C]` in [0, 1].

    Raises:
      DataError: an example cannot be read.
    """
    with pipeline.readable_errors():
        images = split.examples(tf.constant(np.asarray(indices), tf.int64))
    with random.keyed(seed, "images", 0):
        return split.to_floats(images, dtype)


def reconstruct(model: VAE, images: tf.Tensor) -> np.ndarray:
    """Returns the reconstructions of images `[n, H, W, C]`, clipped to [0, 1], NumPy float32."""
    return np.clip(_in_batches(model, images), 0.0, 1.0)


def posterior_centers(model: VAE, images: tf.Tensor) -> np.ndarray:
    """Returns the centers of q(z|x), of a Gaussian its mean, for images `[n, H, W, C]`, float32 `[n, D]`."""
    return _in_batches(lambda part: model.encode(part).center, images)


def decode(model: VAE, latents: np.ndarray) -> np.ndarray:
    """Decodes latents on one device, batch by batch.

    Args:
      model: a built model.
      latents: NumPy `[…, D]`.

    Returns:
      The means of p(x|z), clipped to [0, 1], NumPy float32 `[…, H, W, C]`.
    """
    flat = tf.constant(latents.reshape(-1, latents.shape[-1]), model.variable_dtype)
    images = _in_batches(lambda part: model.decode(part).mean, flat)
    return np.clip(images, 0.0, 1.0).reshape(*latents.shape[:-1], *images.shape[1:])


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


def _in_batches(function: Callable[[tf.Tensor], tf.Tensor], values: tf.Tensor) -> np.ndarray:
    """Calls a function of tensors on parts of `values`; returns float32."""
    parts = []
    for first in range(0, len(values), _BATCH_SIZE):
        watchdog.progress(f"images {first} and on of {len(values)}")
        parts.append(function(values[first : first + _BATCH_SIZE]))
    return np.concatenate([tf.cast(part, tf.float32).numpy() for part in parts])
