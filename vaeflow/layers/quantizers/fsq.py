"""Finite scalar quantization: each number of a vector is rounded to one of a few levels."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from vaeflow import registry, validation
from vaeflow.errors import ConfigurationError
from vaeflow.layers.quantizers.base import Quantized, Quantizer
from vaeflow.layers.quantizers.usage import MOST_CODES

# So far from the outermost levels the bound stays, as in the authors' program.
_MARGIN = 1e-3


@registry.posterior
class FSQ(Quantizer):
    """Vectors of few numbers, each rounded to one of L levels: a codebook that nobody has to learn.

    Mentzer et al. 2023 (arXiv:2309.15505), section 3: a 1x1 convolution gives d numbers z at each place,
    and f(z) = (L − 1)/2 tanh(z + s) − o bounds them so that rounding gives L values; for an even L
    o is 1/2, and s is such that f(0) = 0. They are divided by ⌊L/2⌋ to lie in [−1, 1]. The gradient goes
    straight through the rounding. The code of a place counts its levels, Σ_i (level_i) Π_{j<i} L_j. There
    are no terms and no restarts: the encoder's numbers fill the levels by themselves. A linear layer makes
    D latents of the d numbers.

    Args:
      num_latents: D, the length of the latents; None lets the model say it.
      levels: L_1 … L_d, each of at least 3; the paper recommends 5 or more, and for 2^8 codes (8, 6, 5), for
        2^10 (8, 5, 5, 5), for 2^12 (7, 5, 5, 5, 5), for 2^14 (8, 8, 8, 6, 5), for 2^16 (8, 8, 8, 5, 5, 5).
      **kwargs: as for `Posterior`.

    Raises:
      ConfigurationError: there are too many codes.
      ValueError: a setting is out of range.
    """

    def __init__(self, num_latents: int | None = None, levels: Sequence[int] = (8, 5, 5, 5), **kwargs: Any):
        checked = validation.positive_integers("FSQ.levels", levels)
        if not checked or min(checked) < 3:
            raise ValueError(f"`FSQ.levels` must be integers of at least 3, got {levels!r}; LFQ has 2")
        if math.prod(checked) > MOST_CODES:
            raise ConfigurationError(
                f"`FSQ.levels` must make at most {MOST_CODES:,} codes, got {math.prod(checked):,}"
            )
        super().__init__(num_latents, len(checked), **kwargs)
        self.levels = checked
        self.code_sizes = (math.prod(checked),)

    def quantized(self, vectors: tf.Tensor) -> Quantized:
        bounded = self._bound(vectors)
        rounded = tf.round(bounded)
        half = tf.constant(self._half(), vectors.dtype)
        digits = tf.cast(rounded + half, tf.int32)
        codes = tf.reduce_sum(digits * tf.constant(self._basis(), tf.int32), axis=-1, keepdims=True)
        continuous = bounded / half
        return Quantized(
            continuous, codes, tf.expand_dims(continuous, -2), tf.expand_dims(rounded / half, -2)
        )

    def embeddings_of(self, codes: tf.Tensor) -> tf.Tensor:
        levels, basis = (tf.constant(each, tf.int32) for each in (self.levels, self._basis()))
        digits = tf.math.floormod(tf.expand_dims(codes, -1) // basis, levels)
        half = tf.constant(self._half(), self.variable_dtype)
        return (tf.cast(digits, half.dtype) - half) / half

    def _bound(self, vectors):
        levels = np.array(self.levels)
        reach = (levels - 1) * (1 - _MARGIN) / 2
        offset = np.where(levels % 2, 0.0, 0.5)
        shift, reach, offset = (
            tf.constant(each, vectors.dtype) for each in (np.arctanh(offset / reach), reach, offset)
        )
        return tf.tanh(vectors + shift) * reach - offset

    def _half(self):
        return np.array(self.levels) // 2

    def _basis(self):
        return np.concatenate([[1], np.cumprod(self.levels[:-1])]).astype(np.int64)
