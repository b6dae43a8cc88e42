"""Priors p(z|y) of latents given labels."""

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from vaeflow import registry, validation
from vaeflow.distributions import Distribution, Gaussian
from vaeflow.errors import ConfigurationError
from vaeflow.layers.base import Shape, build_chain, run_chain
from vaeflow.layers.dense import dense_stack
from vaeflow.layers.priors import Prior


def one_hot(labels: Any, label_sizes: Sequence[int], dtype: Any) -> tf.Tensor:
    """Writes each label as a vector with a 1 at its value.

    Args:
      labels: int64 `[r, F]`.
      label_sizes: how many values each of the F labels has.
      dtype: of the vectors.

    Returns:
      `[r, sum(label_sizes)]`, the vectors of an example's labels in a row.
    """
    labels = tf.convert_to_tensor(labels)
    vectors = [tf.one_hot(labels[:, factor], size, dtype=dtype) for factor, size in enumerate(label_sizes)]
    return tf.concat(vectors, axis=1)


def with_labels(values: Any, vectors: tf.Tensor) -> tf.Tensor:
    """Adds the vectors of labels, `[r, n]`, as constant channels to `[r, …, C]`: `[r, …, C + n]`."""
    everywhere: Any = tf.reshape(vectors, (-1, *[1] * (len(values.shape) - 2), vectors.shape[-1]))
    return tf.concat([values, everywhere * tf.ones_like(values[..., :1])], axis=-1)


class ConditionalPrior(Prior):
    """A distribution over latents for each example's labels.

    Attributes:
      label_sizes: how many values each label has, which the model sets before it builds the prior.
    """

    label_sizes: tuple[int, ...] = ()

    def distribution(self, model: Any, labels: tf.Tensor | None = None) -> Distribution:
        """Returns p(z|y), a distribution over `[r, D]`.

        Args:
          model: the model; see `Prior.distribution`.
          labels: int64 `[r, F]`.
        """
        raise NotImplementedError(f"{type(self).__name__} must implement `distribution`")

    def get_build_config(self) -> dict[str, Any]:
        """Returns what `build` needs to know, for Keras' files."""
        return (super().get_build_config() or {}) | {"label_sizes": list(self.label_sizes)}

    def build_from_config(self, config: dict[str, Any]) -> None:
        """Builds the prior as it was when Keras saved it."""
        self.label_sizes = tuple(config["label_sizes"])
        super().build_from_config(config)


@registry.prior
class ConditionalGaussianPrior(ConditionalPrior):
    """A Gaussian with a diagonal covariance, whose mean and variances depend on the labels.

    The prior network of Sohn et al. 2015 (NeurIPS, Eq. 4), where the labels are the input.
    Training starts at N(0, I) for every label.

    Args:
      units: widths of the dense layers between the labels and the Gaussian. Without any there is a
        mean and a variance for each label, and those of several labels add up (the variances as
        logarithms).
      activation: the name of a Keras activation.

    Raises:
      ValueError: a setting is out of range.
    """

    def __init__(self, units: Sequence[int] = (), activation: str = "relu", dtype: Any = None, **kwargs: Any):
        policy = keras.dtype_policies.get(dtype)
        # As in a `Posterior`: the KL is sensitive to the parameters.
        super().__init__(dtype=policy.variable_dtype if dtype is None else dtype, **kwargs)
        self.hidden = dense_stack(
            validation.positive_integers("ConditionalGaussianPrior.units", units), activation
        )
        self.mean = keras.layers.Dense(1, kernel_initializer="zeros")
        self.log_variance = keras.layers.Dense(1, kernel_initializer="zeros")

    def build(self, input_shape: Shape) -> None:
        if not self.label_sizes:
            raise ConfigurationError(
                "`ConditionalGaussianPrior.label_sizes` must say how many values each label has; a "
                "`ConditionalVAE` sets it, so set it only to build the prior alone"
            )
        num_latents: Any = input_shape[-1]
        labels_shape = (None, sum(self.label_sizes))
        features_shape = build_chain(self.hidden, labels_shape, self.dtype_policy)
        for layer in (self.mean, self.log_variance):
            layer.units = num_latents
            build_chain([layer], features_shape, self.dtype_policy)

    def distribution(self, model: Any, labels: tf.Tensor | None = None) -> Gaussian:
        features = run_chain(self.hidden, one_hot(labels, self.label_sizes, self.compute_dtype))
        mean, log_variance = self.mean(features), self.log_variance(features)
        return Gaussian(tf.cast(mean, model.variable_dtype), tf.cast(log_variance, model.variable_dtype))
