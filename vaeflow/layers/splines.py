"""Rational-quadratic splines: increasing functions whose inverse has a closed form."""

import dataclasses
import math
from typing import Any

import tensorflow as tf

# Shares of the interval and slopes below which no piece of a spline falls, as in the authors' program.
_LEAST_SHARE = 1e-3
_LEAST_SLOPE = 1e-3

# Half of the interval is left for shares that differ.
MOST_BINS = 500


@dataclasses.dataclass(frozen=True)
class RationalQuadraticSpline:
    """An increasing function of each number: a ratio of two quadratics between neighbouring knots.

    Durkan et al. 2019 (arXiv:1906.04032), section 3.1. It leads from (x_0, y_0) = (−B, −B) through the
    knots (x_k, y_k) with the slopes δ_k to (x_K, y_K) = (B, B), and is the identity outside of
    [−B, B].

    Args:
      x: x_0 … x_K, `[…, K + 1]`.
      y: y_0 … y_K.
      slopes: δ_0 … δ_K, of which the first and the last are 1.
    """

    x: Any
    y: Any
    slopes: Any

    def forward(self, value: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns the function of values `[…]`, and the logarithm of its slope (Eq. 4 and 5)."""
        inside, clipped = self._clipped(value, self.x)
        piece = self._pieces(clipped, self.x)
        place = (clipped - piece.x) / piece.width
        rest = place * (1.0 - place)
        part = (piece.rise * tf.square(place) + piece.left * rest) / (piece.rise + piece.bend * rest)
        transformed = piece.y + piece.height * part
        return _only(inside, transformed, value), _only(inside, piece.log_slope(place))

    def inverse(self, value: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns what `forward` maps to `value`, and the logarithm of its slope there (Eq. 6 to 8)."""
        inside, clipped = self._clipped(value, self.y)
        piece = self._pieces(clipped, self.y)
        above = clipped - piece.y
        a = piece.height * (piece.rise - piece.left) + above * piece.bend
        b = piece.height * piece.left - above * piece.bend
        c = -piece.rise * above
        # It is no negative number but for rounding.
        root = tf.sqrt(tf.maximum(tf.square(b) - 4.0 * a * c, 0.0))
        place = 2.0 * c / (-b - root)
        transformed = piece.x + piece.width * place
        return _only(inside, transformed, value), _only(inside, piece.log_slope(place))

    def _clipped(self, value, knots):
        lowest, highest = knots[..., 0], knots[..., -1]
        return (value >= lowest) & (value <= highest), tf.clip_by_value(value, lowest, highest)

    def _pieces(self, value, knots):
        """Returns the piece in which each value lies among the knots."""
        count = knots.shape[-1] - 1
        number = tf.reduce_sum(tf.cast(value[..., None] >= knots[..., 1:-1], tf.int32), axis=-1)
        # A product with zeros and ones has a gradient that adds in a fixed order also on a GPU.
        chosen = tf.one_hot(number, count, dtype=value.dtype)

        def of_piece(values):
            return tf.reduce_sum(chosen * values, axis=-1)

        width = of_piece(self.x[..., 1:] - self.x[..., :-1])
        height = of_piece(self.y[..., 1:] - self.y[..., :-1])
        left, right = of_piece(self.slopes[..., :-1]), of_piece(self.slopes[..., 1:])
        return _Piece(of_piece(self.x[..., :-1]), of_piece(self.y[..., :-1]), width, height, left, right)


@dataclasses.dataclass(frozen=True)
class _Piece:
    """The piece of a spline in which a number lies: its lower corner, its size and the slopes at its ends."""

    x: Any
    y: Any
    width: Any
    height: Any
    left: Any
    right: Any

    @property
    def rise(self):
        """s_k, the mean slope."""
        return self.height / self.width

    @property
    def bend(self):
        """δ_{k+1} + δ_k − 2 s_k."""
        return self.left + self.right - 2.0 * self.rise

    def log_slope(self, place):
        """Returns the logarithm of Eq. 5 at the share ξ of the width."""
        rest = place * (1.0 - place)
        slopes = self.right * tf.square(place) + 2.0 * self.rise * rest + self.left * tf.square(1.0 - place)
        denominator = self.rise + self.bend * rest
        return 2.0 * tf.math.log(self.rise) + tf.math.log(slopes) - 2.0 * tf.math.log(denominator)


def num_spline_parameters(num_bins: int) -> int:
    """Returns how many numbers describe a spline of K pieces: K widths, K heights and K − 1 slopes."""
    return 3 * num_bins - 1


def spline_of(parameters: Any, num_bins: int, bound: float) -> RationalQuadraticSpline:
    """Makes splines of any numbers, by softmax and softplus (section 3.1); of zeros the identity.

    Args:
      parameters: `[…, num_spline_parameters(num_bins)]`.
      num_bins: K.
      bound: B.
    """
    widths, heights, slopes = tf.split(parameters, (num_bins, num_bins, num_bins - 1), axis=-1)
    offset = math.log(math.expm1(1.0 - _LEAST_SLOPE))  # A slope of 1 for 0.
    slopes = _LEAST_SLOPE + tf.math.softplus(slopes + offset)
    ends = tf.ones_like(parameters[..., :1])
    return RationalQuadraticSpline(
        _knots(widths, num_bins, bound),
        _knots(heights, num_bins, bound),
        tf.concat([ends, slopes, ends], axis=-1),
    )


def _knots(logits, num_bins, bound):
    shares = _LEAST_SHARE + (1.0 - _LEAST_SHARE * num_bins) * tf.nn.softmax(logits)
    inner = -bound + 2.0 * bound * tf.cumsum(shares, axis=-1)[..., :-1]
    end = bound * tf.ones_like(logits[..., :1])
    return tf.concat([-end, inner, end], axis=-1)


def _only(inside, values, others=None):
    return tf.where(inside, values, tf.zeros_like(values) if others is None else others)
