"""Distributions over codes: numbers that stand for embeddings, which a decoder sees as latents."""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from vaeflow import random
from vaeflow.distributions.base import Distribution


@dataclasses.dataclass(frozen=True)
class CodePoint:
    """All mass on G codes at each place.

    A code has no density, so what needs one, such as importance sampling, is not defined.

    Args:
      center: what the decoder sees of the codes, `[r, …, D]`.
      codes: int32 `[r, …, G]`, code g from 0 to K_g − 1.
      code_sizes: K_1 … K_G, how many codes there are.
      vectors: what each code was chosen for, `[r, …, G, d]`.
      embeddings: what each code stands for, `[r, …, G, d]`, with the gradient of a codebook that has one.
    """

    center: tf.Tensor
    codes: tf.Tensor
    code_sizes: tuple[int, ...]
    vectors: tf.Tensor
    embeddings: tf.Tensor

    @property
    def parameters(self) -> dict[str, tf.Tensor]:
        """`codes`."""
        return {"codes": self.codes}

    def draw(self, num_rows: Any = None, shared: bool = False) -> tuple[tf.Tensor, None]:  # noqa: ARG002 -- `Distribution`
        """Returns what the decoder sees of the codes, and no density."""
        return self.center, None

    def kl(self, other: Distribution) -> tf.Tensor:
        """Returns KL(self ‖ other), Σ_g log K_g at each place, `[r, places]`; see `UniformOverCodes`."""
        if not isinstance(other, UniformOverCodes):
            return NotImplemented
        log_num_codes = tf.constant(sum(math.log(size) for size in other.code_sizes), self.center.dtype)
        return tf.fill([tf.shape(self.codes)[0], math.prod(other.places)], log_num_codes)


@dataclasses.dataclass(frozen=True)
class UniformOverCodes:
    """Each code is as likely as the others, at each place, for any number of rows.

    Args:
      code_sizes: K_1 … K_G, how many codes there are in each of G groups.
      places: the shape of the map of codes, e.g. `(h, w)`.
      embed: gives what the decoder sees of codes, int32 `[r, …, G]` to `[r, …, D]`.
    """

    code_sizes: tuple[int, ...]
    places: tuple[int, ...]
    embed: Callable[[tf.Tensor], tf.Tensor]

    @property
    def center(self) -> tf.Tensor:
        """What the decoder sees of the first codes, `[…, D]`: all are as likely."""
        return self.embed(tf.zeros((1, *self.places, len(self.code_sizes)), tf.int32))[0]

    @property
    def parameters(self) -> dict[str, tf.Tensor]:
        """`code_sizes`."""
        return {"code_sizes": tf.constant(self.code_sizes, tf.int32)}

    def draw(self, num_rows: Any = None, shared: bool = False) -> tuple[tf.Tensor, None]:
        """Draws codes, and returns what the decoder sees of them, `[r, …, D]`, and no density.

        Raises:
          ValueError: `num_rows` is None, and the distribution has no rows of its own.
        """
        if num_rows is None:
            raise ValueError("UniformOverCodes has no rows of its own; say how many, as in draw(num_rows=8)")
        # The same codes in every precision.
        uniform = random.uniform((num_rows, *self.places, len(self.code_sizes)), "float64", shared)
        codes = tf.cast(uniform * tf.constant(self.code_sizes, tf.float64), tf.int32)
        # The noise is in (0, 1].
        return self.embed(tf.minimum(codes, tf.constant(self.code_sizes, tf.int32) - 1)), None

    def log_prob(self, value: tf.Tensor) -> tf.Tensor:
        """Returns −Σ_g log K_g of each place, the log probability of what stands for any codes, `[r]`."""
        log_num_codes = sum(math.log(size) for size in self.code_sizes)
        log_prob = tf.constant(-log_num_codes * math.prod(self.places), value.dtype)
        return tf.fill([tf.shape(value)[0]], log_prob)
