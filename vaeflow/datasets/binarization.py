"""Static binarization: pixels drawn from Bernoulli distributions, the same in every run."""

import math

import numpy as np
import tensorflow as tf

from vaeflow import validation
from vaeflow.datasets.base import ALL_SPLITS, GRID, Split
from vaeflow.datasets.derived import DerivedSplit
from vaeflow.datasets.in_memory import with_factors_of

_KEY = 0x5EED
# A split's place here keys its noise.
_NAMES = (*ALL_SPLITS, GRID)
_CHUNK_PIXELS = 2**24
# One step of the Philox counter gives four 64-bit words, enough for eight pixels.
_WORDS_PER_STEP = 4
_PIXELS_PER_STEP = 8


def binarize_split(split: Split, name: str) -> Split:
    """Draws every pixel of a split once, with its value as the probability of white.

    The noise depends only on the split's name, the example's index and the pixel's place,
    not on the batch or the run's seed.

    Args:
      split: the split to draw from.
      name: `"train"`, `"evaluation"`, `"validation"` or `"grid"`.

    Returns:
      A `Split` of dtype uint8 with pixels of 0 or 255, held in memory if `split` is.

    Raises:
      ValueError: `name` is something else.
    """
    validation.one_of("split", name, _NAMES)
    if split.array is None:
        return BinarizedSplit(split, name)
    images = np.empty(split.array.shape, np.uint8)
    rows = max(1, _CHUNK_PIXELS // math.prod(split.shape))
    for start in range(0, len(images), rows):
        chunk = split.array[start : start + rows]
        images[start : start + rows] = _draw(chunk, _noise(name, start, len(chunk), split.shape))
    return with_factors_of(split, images, np.arange(len(images)))


class BinarizedSplit(DerivedSplit):
    """A split whose pixels are drawn on demand, always with the same result.

    Args:
      split: the `Split` to draw from.
      name: as for `binarize_split`.
    """

    def __init__(self, split: Split, name: str):
        super().__init__(split, "uint8")
        self._name = name

    def examples(self, indices: tf.Tensor) -> tf.Tensor:
        def draw(images, chosen):
            noise = [_noise(self._name, int(index), 1, self.shape) for index in chosen]
            return _draw(images, np.concatenate(noise)) if noise else images.astype(np.uint8)

        images = tf.numpy_function(draw, [self._source.examples(indices), indices], "uint8", stateful=False)
        return tf.ensure_shape(images, (None, *self.shape))


def _noise(name: str, start: int, count: int, shape: tuple[int, ...]) -> np.ndarray:
    """Returns uniform 32-bit integers `[count, H, W, C]` for the examples from `start` on."""
    pixels = math.prod(shape)
    steps = math.ceil(pixels / _PIXELS_PER_STEP)
    # NumPy promises the same raw words in every version, but not the same results of a Generator.
    philox = np.random.Philox(key=np.array([_KEY, _NAMES.index(name)], np.uint64))
    philox.advance(start * steps)
    words = philox.random_raw(count * steps * _WORDS_PER_STEP)
    noise = words.astype("<u8", copy=False).view("<u4")
    return noise.reshape(count, steps * _PIXELS_PER_STEP)[:, :pixels].reshape(count, *shape)


def _draw(images: np.ndarray, noise: np.ndarray) -> np.ndarray:
    """Returns uint8 pixels: 255 where the noise is below the pixel's share of its range, else 0."""
    scale = 255 if images.dtype == np.uint8 else 1
    # A white pixel's threshold is 2^32, above all noise; it needs more than 32 bits.
    thresholds = np.rint(images.astype(np.float64) * (2.0**32 / scale))
    return np.where(noise < thresholds, 255, 0).astype(np.uint8)
