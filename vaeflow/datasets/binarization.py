"""Static binarization: pixels drawn once from Bernoulli distributions, the same in every run."""

import math

import numpy as np
import tensorflow as tf

from vaeflow import validation
from vaeflow.datasets.base import SPLITS, InMemorySplit, Split

_KEY = 0x5EED
_CHUNK_PIXELS = 2**24
# One step of the Philox counter gives four 64-bit words, so eight pixels.
_WORDS_PER_STEP = 4
_PIXELS_PER_STEP = 8


def binarize_split(split, name):
    """Draws every pixel of a split once, with the pixel as its probability.

    The noise is a function of the split's name, the example's index and the
    pixel alone: not of the batch, nor of a run's seed.

    Args:
      split: a `Split`.
      name: `"train"` or `"evaluation"`.

    Returns:
      A `Split` of dtype uint8 with pixels 0 or 255; held in memory where `split` is.
    """
    validation.one_of("split", name, SPLITS)
    if split.array is None:
        return BinarizedSplit(split, name)
    images = np.empty(split.array.shape, np.uint8)
    rows = max(1, _CHUNK_PIXELS // math.prod(split.shape))
    for start in range(0, len(images), rows):
        chunk = split.array[start : start + rows]
        images[start : start + rows] = _draw(chunk, _noise(name, start, len(chunk), split.shape))
    return InMemorySplit(images, split.factors(np.arange(len(images))), split.factor_names)


class BinarizedSplit(Split):
    """A split whose pixels are drawn when they are asked for, always with the same result.

    Args:
      split: the `Split` to draw from.
      name: `"train"` or `"evaluation"`.
    """

    def __init__(self, split, name):
        super().__init__(split.num_examples, split.shape, "uint8")
        self.factor_names = split.factor_names
        self._split = split
        self._name = name

    def factors(self, indices):
        return self._split.factors(indices)

    def examples(self, indices):
        def draw(images, chosen):
            noise = [_noise(self._name, int(index), 1, self.shape) for index in chosen]
            return _draw(images, np.concatenate(noise)) if noise else images.astype(np.uint8)

        images = tf.numpy_function(draw, [self._split.examples(indices), indices], "uint8", stateful=False)
        return tf.ensure_shape(images, (None, *self.shape))


def _noise(name, start, count, shape):
    """Uniform 32-bit integers `[count, H, W, C]` for the examples from `start` on."""
    pixels = math.prod(shape)
    steps = math.ceil(pixels / _PIXELS_PER_STEP)
    # A bit generator's raw words, unlike a Generator's methods, never change with NumPy.
    philox = np.random.Philox(key=np.array([_KEY, SPLITS.index(name)], np.uint64))
    philox.advance(start * steps)
    words = philox.random_raw(count * steps * _WORDS_PER_STEP)
    noise = words.astype("<u8", copy=False).view("<u4")
    return noise.reshape(count, steps * _PIXELS_PER_STEP)[:, :pixels].reshape(count, *shape)


def _draw(images, noise):
    """Pixels of 0 or 255: 255 where the noise lies below the pixel's share of its range."""
    scale = 255 if images.dtype == np.uint8 else 1
    # 2^32 for a full pixel, which lies above all noise, needs more than 32 bits.
    thresholds = np.rint(images.astype(np.float64) * (2.0**32 / scale))
    return np.where(noise < thresholds, 255, 0).astype(np.uint8)
