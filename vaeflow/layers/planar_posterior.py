"""The posterior of planar flows."""

import dataclasses
from typing import Any

import keras
import tensorflow as tf

from vaeflow import registry, validation
from vaeflow.distributions import Gaussian, Transformed
from vaeflow.kernels.joint_dense import joint_dense
from vaeflow.layers.base import Shape, build_chain
from vaeflow.layers.posteriors import Posterior

# Halves an interval often enough for every bit of a float64.
_NUM_BISECTIONS = 64


@registry.posterior
class PlanarPosterior(Posterior):
    """A Gaussian that planar flows transform: each moves z along one direction, more or less far.

    Rezende & Mohamed 2015 (arXiv:1505.05770), section 4.1: z ← z + û tanh(wᵀz + b), with
    log abs det = log(1 + wᵀû tanh'(wᵀz + b)). The constraint of appendix A.1 keeps each flow invertible:
    û = u + (m(wᵀu) − wᵀu) w / ‖w‖² with m(x) = log(1 + eˣ) − 1, so that wᵀû > −1.

    Features `[B, F]` become mean and log variance `[B, D]` of the Gaussian, and u, w and b of each flow,
    `[B, num_flows · (2 D + 1)]`, all linear in the features. The density of a draw costs next to nothing;
    that of any other value solves one equation for each flow.

    Args:
      num_latents: D; None lets the model say it.
      num_flows: how many flows there are.

    Raises:
      ValueError: a setting is out of range.
    """

    def __init__(self, num_latents: int | None = None, num_flows: int = 10, **kwargs: Any):
        super().__init__(num_latents, **kwargs)
        self.num_flows = validation.positive_integer("PlanarPosterior.num_flows", num_flows)
        self.mean = keras.layers.Dense(num_latents or 1)
        self.log_variance = keras.layers.Dense(num_latents or 1)
        self.flow_parameters = keras.layers.Dense(self.num_flows)

    def build(self, input_shape: Shape) -> None:
        num_latents = self.checked_num_latents()
        self.mean.units = self.log_variance.units = num_latents
        self.flow_parameters.units = self.num_flows * (2 * num_latents + 1)
        for layer in (self.mean, self.log_variance, self.flow_parameters):
            build_chain([layer], input_shape, self.dtype_policy)

    def call(self, features: tf.Tensor) -> tuple[tf.Tensor, ...]:
        return *joint_dense(features, self.mean, self.log_variance), self.flow_parameters(features)

    def distribution(self, evidence: tuple[tf.Tensor, ...]) -> Transformed:
        mean, log_variance, parameters = (tf.cast(each, self.variable_dtype) for each in evidence)
        num_latents = self.checked_num_latents()
        flows = []
        for of_flow in tf.split(parameters, self.num_flows, axis=-1):
            u, w, b = tf.split(of_flow, (num_latents, num_latents, 1), axis=-1)
            flows.append(_invertible(u, w, b))
        return Transformed(Gaussian(mean, log_variance), flows)


@dataclasses.dataclass(frozen=True)
class PlanarFlow:
    """z ↦ z + û tanh(wᵀz + b) of each row; see `vaeflow.distributions.Flow`.

    Args:
      direction: û, `[r, D]`.
      normal: w, `[r, D]`.
      offset: b, `[r, 1]`.
      slope: wᵀû, `[r, 1]`, above −1.
    """

    direction: tf.Tensor
    normal: tf.Tensor
    offset: tf.Tensor
    slope: tf.Tensor

    def forward(self, value: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns value + û tanh(wᵀvalue + b), and log(1 + wᵀû tanh')."""
        height = tf.tanh(self._along(value))
        return value + self.direction * height, self._log_determinant(height)

    def inverse(self, value: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Inverts `forward`: x = wᵀz + b solves x + wᵀû tanh x = wᵀvalue + b."""
        height = tf.tanh(_solution(self.slope, self._along(value)))
        return value - self.direction * height, self._log_determinant(height)

    def _along(self, value):
        return tf.reduce_sum(self.normal * value, axis=1, keepdims=True) + self.offset

    def _log_determinant(self, height):
        return tf.squeeze(tf.math.log1p(self.slope * (1.0 - tf.square(height))), axis=1)


def _invertible(u, w, b):
    """Makes the flow of u, w `[r, D]` and b `[r, 1]`; where w is 0 it only moves z."""
    along = tf.reduce_sum(w * u, axis=1, keepdims=True)
    squared = tf.reduce_sum(tf.square(w), axis=1, keepdims=True)
    slope = tf.where(squared > 0.0, tf.math.softplus(along) - 1.0, tf.zeros_like(along))
    return PlanarFlow(u + (slope - along) * tf.math.divide_no_nan(w, squared), w, b, slope)


def _solution(slope, target):
    """Returns the x of x + slope tanh x = target; each `[r, 1]`, and differentiable.

    The left side rises, and differs from x by less than the slope. So bisection finds x, without a
    gradient. A Newton step from there changes nothing, and has the gradient of the implicit function.
    """
    constant_slope, constant_target = tf.stop_gradient(slope), tf.stop_gradient(target)

    def halve(lowest, highest):
        middle = 0.5 * (lowest + highest)
        is_below = middle + constant_slope * tf.tanh(middle) < constant_target
        return tf.where(is_below, middle, lowest), tf.where(is_below, highest, middle)

    reach = tf.abs(constant_slope)
    lowest, highest = tf.while_loop(
        lambda *_: True,
        halve,
        (constant_target - reach, constant_target + reach),
        maximum_iterations=_NUM_BISECTIONS,
    )
    x: Any = tf.stop_gradient(0.5 * (lowest + highest))
    height = tf.tanh(x)
    rise = 1.0 + constant_slope * (1.0 - tf.square(height))
    return x - (x + slope * height - target) / rise
