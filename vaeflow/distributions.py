"""Probability distributions as plain values without variables.

Log densities and divergences are in nats. They are computed in float32, or in float64 for
parameters in float64; half-precision parameters are cast first.
"""

import dataclasses
import math
from typing import Any, Protocol

import tensorflow as tf

from vaeflow import random
from vaeflow.kernels.bernoulli import bernoulli_log_prob


class Distribution(Protocol):
    """A distribution over latents: for each of r rows, or one for any number of rows, as a prior is.

    It may also have `log_prob`, which a distribution on a single point has not; and `kl(other)`,
    which returns the divergence from another distribution in closed form, in nats, `[r, U]` for U
    units that add up, or `NotImplemented` where it knows none.
    """

    @property
    def center(self) -> tf.Tensor:
        """The value that stands for the distribution, such as its mean or mode, `[r, …]`."""
        ...

    @property
    def parameters(self) -> dict[str, tf.Tensor]:
        """What describes the distribution, name -> `[r, …]`."""
        ...

    def draw(self, num_rows: Any = None, shared: bool = False) -> tuple[tf.Tensor, tf.Tensor | None]:
        """Draws a value for each row, with noise from `vaeflow.random`.

        Args:
          num_rows: how many rows; None for those of the parameters.
          shared: whether every replica draws the same; see `random.normal`.

        Returns:
          The value `[r, …]`, and its log density `[r]`, in nats; None where it has none.
        """
        ...


class ImageDistribution(Protocol):
    """A distribution over images `[B, H, W, C]`, as a likelihood returns it."""

    @property
    def mean(self) -> tf.Tensor:
        """The mean, `[B, H, W, C]`."""
        ...

    def log_prob(self, value: tf.Tensor) -> tf.Tensor:
        """Returns log p(value) per example, in nats, `[B]`."""
        ...


def has_density(distribution: Distribution) -> bool:
    """Whether a distribution knows the density of any value."""
    return hasattr(distribution, "log_prob")


def closed_kl(posterior: Distribution, prior: Distribution) -> tf.Tensor | None:
    """Returns KL(posterior ‖ prior) in closed form, in nats, `[r, U]`; None where none is known."""
    found = posterior.kl(prior) if hasattr(posterior, "kl") else NotImplemented  # pyright: ignore[reportAttributeAccessIssue]
    return None if found is NotImplemented else found


def _full_precision(value):
    value = tf.convert_to_tensor(value)
    return tf.cast(value, tf.float32) if value.dtype in (tf.bfloat16, tf.float16) else value


def _sum_per_example(values: tf.Tensor) -> tf.Tensor:
    """Sums `[B, …]` over all axes but the first: `[B]`."""
    return tf.reduce_sum(values, axis=list(range(1, values.shape.rank)))


@dataclasses.dataclass(frozen=True)
class Gaussian:
    """A Gaussian with a diagonal covariance.

    Args:
      mean: `[B, …]`.
      log_variance: the logarithm of each variance, broadcastable to `mean`.
      normalized: False drops the constant −½ log 2π − ½ log σ² of each element from
        `log_prob`, as some published code does for a fixed σ.
    """

    mean: tf.Tensor
    log_variance: tf.Tensor
    normalized: bool = True

    @property
    def center(self) -> tf.Tensor:
        """The mean."""
        return self.mean

    @property
    def parameters(self) -> dict[str, tf.Tensor]:
        """`mean` and `log_variance`."""
        return {"mean": self.mean, "log_variance": self.log_variance}

    def draw(self, num_rows: Any = None, shared: bool = False) -> tuple[tf.Tensor, tf.Tensor]:
        """Draws by the reparameterization trick (arXiv:1312.6114, section 2.4); see `Distribution.draw`.

        With `num_rows`, the mean has the shape of one value, not of rows of them.
        """
        shape = self.mean.shape[1:] if num_rows is None else self.mean.shape
        rows = tf.shape(self.mean)[0] if num_rows is None else num_rows
        value = self.sample(random.normal((rows, *shape), self.mean.dtype, shared))
        return value, self.log_prob(value)

    def sample(self, noise: tf.Tensor) -> tf.Tensor:
        """Transforms standard normal `noise` of the shape of `mean` into a sample of its dtype."""
        mean, log_variance = _full_precision(self.mean), _full_precision(self.log_variance)
        sample = mean + tf.exp(0.5 * log_variance) * tf.cast(noise, mean.dtype)
        return tf.cast(sample, self.mean.dtype)

    def log_prob_per_dimension(self, value: tf.Tensor) -> tf.Tensor:
        """Returns log p(value) of each element, `[B, …]`."""
        mean, log_variance = _full_precision(self.mean), _full_precision(self.log_variance)
        squared = tf.square(tf.cast(value, mean.dtype) - mean) * tf.exp(-log_variance)
        if not self.normalized:
            return -0.5 * squared
        return -0.5 * (squared + log_variance + math.log(2.0 * math.pi))

    def log_prob(self, value: tf.Tensor) -> tf.Tensor:
        """Returns log p(value) per example, `[B]`."""
        return _sum_per_example(self.log_prob_per_dimension(value))

    def kl_per_dimension(self, other: "Gaussian") -> tf.Tensor:
        """Returns KL(self ‖ other) of each element, `[B, …]`."""
        mean, log_variance = _full_precision(self.mean), _full_precision(self.log_variance)
        other_mean = tf.cast(other.mean, mean.dtype)
        other_log_variance = tf.cast(other.log_variance, mean.dtype)
        squared = tf.square(mean - other_mean) * tf.exp(-other_log_variance)
        ratio = log_variance - other_log_variance
        return 0.5 * (squared + tf.exp(ratio) - ratio - 1.0)

    def kl(self, other: Distribution) -> tf.Tensor:
        """Returns KL(self ‖ other) of each element, `[B, U]`; `NotImplemented` if that is no `Gaussian`."""
        if not isinstance(other, Gaussian):
            return NotImplemented
        kl = self.kl_per_dimension(other)
        return kl if kl.shape.rank == 2 else tf.reshape(kl, (tf.shape(kl)[0], -1))


@dataclasses.dataclass(frozen=True)
class Point:
    """All mass on one value: a deterministic code, which has no density.

    Args:
      center: `[B, …]`.
    """

    center: tf.Tensor

    @property
    def parameters(self) -> dict[str, tf.Tensor]:
        """`center`."""
        return {"center": self.center}

    def draw(self, num_rows: Any = None, shared: bool = False) -> tuple[tf.Tensor, None]:  # noqa: ARG002 -- `Distribution`
        """Returns the value, and no density."""
        return self.center, None


@dataclasses.dataclass(frozen=True)
class Bernoulli:
    """Independent Bernoulli variables.

    Values between 0 and 1 are scored by the cross-entropy, the usual reconstruction loss
    on grey pixels. It is not a density over them.

    Args:
      logits: the log odds of a 1, `[B, …]`.
    """

    logits: tf.Tensor

    @property
    def mean(self) -> tf.Tensor:
        """The probability of a 1, `[B, …]`."""
        return tf.sigmoid(self.logits)

    def sample(self, noise: tf.Tensor) -> tf.Tensor:
        """Transforms uniform `noise` in (0, 1], `[B, …]`, into zeros and ones of the dtype of `logits`."""
        return tf.cast(noise <= tf.cast(self.mean, noise.dtype), self.logits.dtype)

    def log_prob_per_dimension(self, value: tf.Tensor) -> tf.Tensor:
        """Returns log p(value) of each element, `[B, …]`."""
        logits = _full_precision(self.logits)
        return -tf.nn.sigmoid_cross_entropy_with_logits(labels=tf.cast(value, logits.dtype), logits=logits)

    def log_prob(self, value: tf.Tensor) -> tf.Tensor:
        """Returns log p(value) per example, `[B]`."""
        logits = _full_precision(self.logits)
        return bernoulli_log_prob(tf.cast(value, logits.dtype), logits)
