"""A Gaussian for each place and channel of a map: its parameters, and as a posterior."""

from typing import Any

import keras
import tensorflow as tf

from vaeflow import registry, validation
from vaeflow.distributions import Gaussian
from vaeflow.layers.base import CHANNELS_LAST, Layer, Shape, build_chain, build_once, run_chain
from vaeflow.layers.posteriors import Posterior

# What the log variance of a latent is limited to, so that its exponential is a number.
_LOG_VARIANCES = (-30.0, 20.0)


@registry.layer
class GaussianMap(Layer):
    """The parameters of a Gaussian over maps, by a convolution.

    Features `[B, h, w, F]` become a pair (mean, log variance), each `[B, h, w, channels]`. Unless
    told otherwise it computes in the dtype of its variables, since a KL is sensitive to them.

    Args:
      channels: of the map.
      kernel_size: of the convolution.
      activation: the name of a Keras activation of the features before the convolution.
    """

    def __init__(
        self,
        channels: int,
        kernel_size: int = 3,
        activation: str = "linear",
        dtype: Any = None,
        **kwargs: Any,
    ):
        policy = keras.dtype_policies.get(dtype)
        super().__init__(dtype=policy.variable_dtype if dtype is None else dtype, **kwargs)
        self.channels = validation.positive_integer("GaussianMap.channels", channels)
        validation.positive_integer("GaussianMap.kernel_size", kernel_size)
        self.blocks = [
            keras.layers.Activation(activation),
            keras.layers.Conv2D(2 * channels, kernel_size, padding="same", **CHANNELS_LAST),
        ]

    def build(self, input_shape: Shape) -> None:
        build_chain(self.blocks, input_shape, self.dtype_policy)

    def call(self, features: tf.Tensor) -> tuple[tf.Tensor, ...]:
        return tuple(tf.split(run_chain(self.blocks, features), 2, axis=-1))


@registry.posterior
class GaussianMapPosterior(Posterior):
    """A Gaussian with a diagonal covariance over maps of latents, by a convolution.

    Rombach et al. 2022 (arXiv:2112.10752, appendix G). Features `[B, h, w, F]` become a pair (mean,
    log variance), each `[B, h, w, D]`. As in the authors' program log variances are limited to
    -30 … 20.

    Args:
      num_latents: D, the channels of the map; None lets the model say it.
      kernel_size: of the convolution.

    Raises:
      ValueError: a setting is out of range.
    """

    features_rank = 4

    def __init__(self, num_latents: int | None = None, kernel_size: int = 1, **kwargs: Any):
        super().__init__(num_latents, **kwargs)
        validation.positive_integer("GaussianMapPosterior.kernel_size", kernel_size)
        self.kernel_size = kernel_size

    def build(self, input_shape: Shape) -> None:
        self.parameters = GaussianMap(self.checked_num_latents(), self.kernel_size, dtype=self.dtype_policy)
        build_once(self.parameters, input_shape)

    def call(self, features: tf.Tensor) -> tuple[tf.Tensor, ...]:
        mean, log_variance = self.parameters(features)
        return mean, tf.clip_by_value(log_variance, *_LOG_VARIANCES)

    def distribution(self, evidence: tuple[tf.Tensor, ...]) -> Gaussian:
        mean, log_variance = evidence
        return Gaussian(mean, log_variance)
