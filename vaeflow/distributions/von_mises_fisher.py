"""Distributions on the unit sphere: von Mises-Fisher, and the uniform one."""

import dataclasses
import math
from typing import Any

import numpy as np
import tensorflow as tf

from vaeflow import random
from vaeflow.distributions.base import Distribution
from vaeflow.distributions.bessel import log_mean_exp
from vaeflow.errors import ConfigurationError

# Each is accepted with a probability of 0.65 or more, so none of them once in 1e14 draws; then the last is
# taken.
_NUM_PROPOSALS = 32
# Of the integral in the gradient, over as many standard deviations of the proposals.
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(64)
_DEVIATIONS = 14.0


@dataclasses.dataclass(frozen=True)
class VonMisesFisher:
    """The density C exp(κ μ·x) on the unit sphere in D dimensions (Davidson et al. 2018, arXiv:1804.00891).

    Args:
      mean_direction: μ, of length 1, `[r, D]` with D of at least 2.
      concentration: κ, above 0, `[r, 1]`.
    """

    mean_direction: tf.Tensor
    concentration: tf.Tensor

    @property
    def center(self) -> tf.Tensor:
        """μ, the mode."""
        return self.mean_direction

    @property
    def parameters(self) -> dict[str, tf.Tensor]:
        """`mean_direction` and `concentration`."""
        return {"mean_direction": self.mean_direction, "concentration": self.concentration}

    def draw(self, num_rows: Any = None, shared: bool = False) -> tuple[tf.Tensor, tf.Tensor]:
        """Draws by rejection (Wood 1994; Davidson et al. 2018, Alg. 1), with the exact gradient.

        The angle θ to μ is accepted of 32 proposals. Its gradient is the implicit one, −(∂F/∂κ) / (∂F/∂θ) of
        its distribution function F (Figurnov et al. 2018, arXiv:1805.08498, section 3), by quadrature. The
        gradient of an accepted proposal, which published code takes, is biased, since whether it is
        accepted depends on κ as well. The direction around μ is uniform, and a reflection takes the
        axis to μ.

        Raises:
          ValueError: `num_rows` is given; the rows are those of the parameters.
        """
        if num_rows is not None:
            raise ValueError("a VonMisesFisher has rows of its own; leave `num_rows` out")
        size, rows = self._size, tf.shape(self.mean_direction)[0]
        dtype = self.mean_direction.dtype
        noise = random.normal((rows, _NUM_PROPOSALS, size), dtype, shared)
        thresholds = random.uniform((rows, _NUM_PROPOSALS), dtype, shared)
        noise, thresholds = tf.cast(noise, tf.float64), tf.cast(thresholds, tf.float64)
        mean, kappa = self._in_float64()
        chosen = _accepted(noise, thresholds, tf.stop_gradient(kappa))
        radius = tf.norm(chosen[:, 1:], axis=1, keepdims=True)
        latitude = tf.atan2(radius, chosen[:, :1])
        angle = _differentiable_angle(latitude, size)(kappa)
        around = tf.sin(angle) * chosen[:, 1:] / radius
        # The axis that is further from μ, so that the reflection is stable.
        one = tf.ones_like(kappa)
        sign = tf.where(mean[:, :1] < 0, one, -one)
        value = tf.concat([sign * tf.cos(angle), around], axis=1)
        axis = tf.concat([sign, tf.zeros_like(around)], axis=1) - mean
        along = tf.reduce_sum(axis * value, axis=1, keepdims=True) / (1 - sign * mean[:, :1])
        value = tf.cast(value - along * axis, dtype)
        return value, self.log_prob(value)

    def log_prob(self, value: tf.Tensor) -> tf.Tensor:
        """Returns log p(value) per example, `[r]`, with respect to the area of the sphere."""
        mean, kappa = self._in_float64()
        cosine = tf.reduce_sum(mean * tf.cast(value, tf.float64), axis=1, keepdims=True)
        log_f, _ = log_mean_exp(self._size / 2 - 1, kappa)
        log_prob = tf.squeeze(kappa * cosine - log_f, axis=1) - log_area(self._size)
        return tf.cast(log_prob, self.mean_direction.dtype)

    def kl(self, other: Distribution) -> tf.Tensor:
        """Returns KL(self ‖ other) of the whole vector, `[r, 1]` (Davidson et al. 2018, section 3).

        Raises:
          ConfigurationError: `other` is not the uniform distribution on the sphere, so it may be one over
            all vectors, with whose density that of a point on the sphere cannot be compared.
        """
        if not isinstance(other, UniformOnSphere):
            raise ConfigurationError(
                f"latents of a VonMisesFisherPosterior lie on a sphere, and the prior is a "
                f"{type(other).__name__}; set the model's `prior` to @UniformSpherePrior()"
            )
        _, kappa = self._in_float64()
        log_f, ratio = log_mean_exp(self._size / 2 - 1, kappa)
        return tf.cast(kappa * ratio - log_f, self.mean_direction.dtype)

    @property
    def _size(self) -> int:
        return self.mean_direction.shape[1]  # pyright: ignore[reportReturnType] It is known.

    def _in_float64(self) -> tuple[Any, Any]:
        return tf.cast(self.mean_direction, tf.float64), tf.cast(self.concentration, tf.float64)


@dataclasses.dataclass(frozen=True)
class UniformOnSphere:
    """The uniform distribution on the unit sphere in D dimensions, for any number of rows.

    Args:
      size: D, at least 2.
      dtype: of the draws.
    """

    size: int
    dtype: Any

    @property
    def center(self) -> tf.Tensor:
        """The mean, 0, `[D]`, which is not on the sphere: all of its points are as likely."""
        return tf.zeros(self.size, self.dtype)

    @property
    def parameters(self) -> dict[str, tf.Tensor]:
        """`size`."""
        return {"size": tf.constant(self.size)}

    def draw(self, num_rows: Any = None, shared: bool = False) -> tuple[tf.Tensor, tf.Tensor]:
        """Draws points; see `Distribution.draw`.

        Raises:
          ValueError: `num_rows` is None, and the distribution has no rows of its own.
        """
        if num_rows is None:
            raise ValueError("UniformOnSphere has no rows of its own; say how many, as in draw(num_rows=8)")
        noise = random.normal((num_rows, self.size), self.dtype, shared)
        value = noise / tf.norm(noise, axis=1, keepdims=True)
        return value, self.log_prob(value)

    def log_prob(self, value: tf.Tensor) -> tf.Tensor:
        """Returns log p(value) per example, `[r]`, with respect to the area of the sphere."""
        return tf.fill([tf.shape(value)[0]], tf.constant(-log_area(self.size), value.dtype))


def log_area(size: int) -> float:
    """Returns the logarithm of the area of the unit sphere in D dimensions, 2 π^(D/2) / Γ(D/2)."""
    return math.log(2) + size / 2 * math.log(math.pi) - math.lgamma(size / 2)


def _envelope(kappa: Any, size: int) -> Any:
    """Returns b of Wood's proposals, whose latitude φ on a uniform sphere gives tan(θ/2) = √b tan(φ/2)."""
    return (size - 1) / (2 * kappa + tf.sqrt(tf.square(2 * kappa) + (size - 1) ** 2))


def _stretched(cosine: Any, b: Any) -> tuple[Any, Any]:
    """Returns cos θ, and √b sin φ / sin θ, for the latitudes φ of proposals with `cosine`."""
    scale = ((1 + b) + (1 - b) * cosine) / 2
    return ((1 - b) + (1 + b) * cosine) / 2 / scale, scale


def _accepted(noise: Any, thresholds: Any, kappa: Any) -> tf.Tensor:
    """Returns the first of the proposals, normal noise `[r, T, D]`, that is accepted, `[r, D]`."""
    size = noise.shape[2]
    b = _envelope(kappa, size)
    cosine, scale = _stretched(noise[..., 0] / tf.norm(noise, axis=2), b)
    log_probability = kappa * (cosine - (1 - b) / (1 + b)) + (size - 1) * tf.math.log((1 + b) / (2 * scale))
    last = noise.shape[1] - 1
    number = tf.where(tf.math.log(thresholds) <= log_probability, tf.range(last + 1), last)
    return tf.gather(noise, tf.reduce_min(number, axis=1), batch_dims=1)


def _differentiable_angle(latitude: Any, size: int) -> Any:
    """Makes a function of κ that returns the angles θ of latitudes φ, with the gradient of a draw."""

    @tf.custom_gradient
    def angle(kappa):
        b = _envelope(kappa, size)
        theta = 2 * tf.atan2(tf.sqrt(b) * tf.sin(latitude / 2), tf.cos(latitude / 2))
        return theta, lambda upstream: upstream * angle_slope(latitude, kappa, size)

    return angle


def angle_slope(latitude: Any, kappa: Any, size: int) -> Any:
    """Returns dθ/dκ of angles that keep their value of the distribution function, `[r, 1]`.

    It is −∫ (cos t − E[cos θ]) p(t) dt / p(θ) over the angles t below θ, or minus that over those above,
    since the whole integral is 0. The side away from the mean is taken, where nothing is large, and the
    variable φ, in which the density has one width for every κ.

    Args:
      latitude: φ, `[r, 1]`.
      kappa: κ, `[r, 1]`.
      size: D.
    """
    b = _envelope(kappa, size)
    latitude = tf.clip_by_value(latitude, 1e-12, math.pi - 1e-12)
    cosine, scale = _stretched(tf.cos(latitude), b)
    _, mean = log_mean_exp(size / 2 - 1, kappa)
    below = cosine >= mean
    reach = _DEVIATIONS / math.sqrt(size)
    start = tf.where(below, tf.maximum(latitude - reach, 0.0), latitude)
    end = tf.where(below, latitude, tf.minimum(latitude + reach, math.pi))
    points = start + (end - start) * (_NODES + 1) / 2
    cosines, scales = _stretched(tf.cos(points), b)
    log_quotient = kappa * (cosines - cosine) - (size - 1) * tf.math.log(scales / scale)
    log_quotient += (size - 2) * tf.math.log(tf.sin(points) / tf.sin(latitude))
    integral = tf.reduce_sum(_WEIGHTS * (cosines - mean) * tf.exp(log_quotient), axis=1, keepdims=True)
    integral *= (end - start) / 2
    return tf.where(below, -integral, integral) * tf.sqrt(b) / scale
