"""Distributions over codes: indices into a codebook, whose rows are the latents that a decoder sees."""

import dataclasses
import math
from typing import Any

import tensorflow as tf

from vaeflow import random
from vaeflow.distributions.base import Distribution


@dataclasses.dataclass(frozen=True)
class CodePoint:
    """All mass on one code at each place.

    A code has no density, so what needs one, such as importance sampling, is not defined.

    Args:
      center: the embeddings of the codes, `[r, …, D]`.
      codes: int32 `[r, …]`.
      vectors: what the codes were chosen for, `[r, …, D]`.
    """

    center: tf.Tensor
    codes: tf.Tensor
    vectors: tf.Tensor

    @property
    def parameters(self) -> dict[str, tf.Tensor]:
        """`codes`."""
        return {"codes": self.codes}

    def draw(self, num_rows: Any = None, shared: bool = False) -> tuple[tf.Tensor, None]:  # noqa: ARG002 -- `Distribution`
        """Returns the embeddings, and no density."""
        return self.center, None

    def kl(self, other: Distribution) -> tf.Tensor:
        """Returns KL(self ‖ other), log K at each place, `[r, places]`; see `UniformOverCodes`."""
        if not isinstance(other, UniformOverCodes):
            return NotImplemented
        log_num_codes = tf.constant(math.log(other.num_codes), self.center.dtype)
        return tf.fill([tf.shape(self.codes)[0], math.prod(other.places)], log_num_codes)


@dataclasses.dataclass(frozen=True)
class UniformOverCodes:
    """Each of K codes is as likely as the others, at each place, for any number of rows.

    Args:
      codebook: the embeddings of the codes, `[K, D]`.
      places: the shape of the codes, e.g. `(h, w)`.
    """

    codebook: tf.Tensor
    places: tuple[int, ...]

    @property
    def num_codes(self) -> int:
        """K."""
        return int(self.codebook.shape[0])  # pyright: ignore[reportArgumentType]

    @property
    def center(self) -> tf.Tensor:
        """The mean embedding at each place, `[…, D]`: no embedding itself."""
        mean = tf.reduce_mean(self.codebook, axis=0)
        return tf.broadcast_to(mean, (*self.places, mean.shape[0]))

    @property
    def parameters(self) -> dict[str, tf.Tensor]:
        """`codebook`."""
        return {"codebook": self.codebook}

    def draw(self, num_rows: Any = None, shared: bool = False) -> tuple[tf.Tensor, None]:
        """Draws codes, and returns their embeddings `[r, …, D]`, and no density.

        Raises:
          ValueError: `num_rows` is None, and the distribution has no rows of its own.
        """
        if num_rows is None:
            raise ValueError("UniformOverCodes has no rows of its own; say how many, as in draw(num_rows=8)")
        # The same codes in every precision.
        uniform = random.uniform((num_rows, *self.places), "float64", shared)
        codes = tf.cast(uniform * tf.constant(self.num_codes, tf.float64), tf.int32)
        # The noise is in (0, 1].
        return tf.gather(self.codebook, tf.minimum(codes, self.num_codes - 1)), None
