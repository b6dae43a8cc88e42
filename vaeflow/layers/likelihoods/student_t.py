"""Pixels with heavy-tailed noise: Student's t."""

import math
from typing import Any

import tensorflow as tf

from vaeflow import registry, validation
from vaeflow.distributions import StudentT
from vaeflow.distributions.base import full_precision
from vaeflow.layers.base import Shape
from vaeflow.layers.likelihoods.base import Likelihood

# What a decoder may output: a scale of 5e-5 of the pixels' range, and ν from 0.007 to 5e8. A density over
# pixels that equal their location would otherwise grow without bound.
_LEAST_LOG_SCALE = -10.0
_LOG_DEGREES = (-5.0, 20.0)


@registry.likelihood
class StudentTLikelihood(Likelihood):
    """Each pixel is a Student's t variable around the decoder's output, which outliers move little.

    Takahashi et al. 2018 (IJCAI, "Student-t Variational Autoencoder for Robust Density Estimation"): a
    Gaussian whose precision has a Gamma distribution, integrated out. Their decoder outputs all three
    parameters, which is `learned = "per_pixel"`.

    Args:
      scale: s, in units of the pixels' range 0 … 1; the initial value if it is learned. For ν > 2 the
        standard deviation is s √(ν / (ν − 2)).
      degrees_of_freedom: ν; the initial value if it is learned. 1 is Cauchy's distribution, ∞ the Gaussian.
      learned: `"no"`; `"scalar"` learns one s for all pixels; with `"per_pixel"` the decoder outputs a
        log scale and a log ν for each pixel, next to its location.

    Raises:
      ValueError: a setting is out of range.
    """

    measure = "density"

    def __init__(
        self, scale: float = 1.0, degrees_of_freedom: float = 3.0, learned: str = "no", **kwargs: Any
    ):
        super().__init__(**kwargs)
        scale = validation.positive_number("StudentTLikelihood.scale", scale)
        degrees_of_freedom = validation.positive_number(
            "StudentTLikelihood.degrees_of_freedom", degrees_of_freedom
        )
        self.learned = validation.one_of("StudentTLikelihood.learned", learned, ("no", "scalar", "per_pixel"))
        self.initial_log_scale = math.log(scale)
        self.initial_log_degrees = math.log(degrees_of_freedom)
        self.channels_per_channel = 3 if learned == "per_pixel" else 1

    def build(self, input_shape: Shape) -> None:
        if self.learned == "scalar":
            self.log_scale = self.add_scalar("log_scale", self.initial_log_scale)

    def distribution(self, outputs: tf.Tensor) -> StudentT:
        outputs = full_precision(outputs)
        log_scale: Any = tf.constant(self.initial_log_scale, outputs.dtype)
        log_degrees: Any = tf.constant(self.initial_log_degrees, outputs.dtype)
        if self.learned == "scalar":
            return StudentT(outputs, tf.convert_to_tensor(self.log_scale), log_degrees)
        if self.learned == "per_pixel":
            outputs, scale_excess, degrees_excess = tf.split(outputs, 3, axis=-1)
            log_scale = tf.maximum(log_scale + scale_excess, _LEAST_LOG_SCALE)
            log_degrees = tf.clip_by_value(log_degrees + degrees_excess, *_LOG_DEGREES)
        return StudentT(outputs, log_scale, log_degrees)
