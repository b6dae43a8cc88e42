"""What a distribution over latents or images offers, and what the distributions share."""

from typing import Any, Protocol

import tensorflow as tf


class Distribution(Protocol):
    """A distribution over latents: for each of r rows, or one for any number of rows, as a prior is.

    It may also have

    - `log_prob(value)`, in nats, `[r]`, which a distribution on a single point has not;
    - `kl(other)`, the divergence from another distribution in closed form, in nats, `[r, U]` for U
      units that add up, or `NotImplemented` where it knows none;
    - `tempered(temperature)`, the distribution with its spread multiplied by a factor, a float
      of at least 0: 1 changes nothing, less gives more typical and less varied draws. A Gaussian
      multiplies its standard deviation, a mixture that of each component. At 0 a draw is a mean,
      and its density is not a number.

    One over codes, not numbers, has `codes` among its parameters, integers `[r, …, G]`, and `code_sizes`,
    K_1 … K_G; see `CodePoint`.
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


def is_discrete(distribution: Distribution) -> bool:
    """Whether the latents are codes; numbers that are made of them have no variance to speak of."""
    return "codes" in distribution.parameters


def closed_kl(posterior: Distribution, prior: Distribution) -> tf.Tensor | None:
    """Returns KL(posterior ‖ prior) in closed form, in nats, `[r, U]`; None where none is known."""
    found = posterior.kl(prior) if hasattr(posterior, "kl") else NotImplemented  # pyright: ignore[reportAttributeAccessIssue]
    return None if found is NotImplemented else found


def full_precision(value: Any) -> tf.Tensor:
    """Returns a tensor in float32 at least: half precisions are cast."""
    value = tf.convert_to_tensor(value)
    return tf.cast(value, tf.float32) if value.dtype in (tf.bfloat16, tf.float16) else value


def sum_per_example(values: tf.Tensor) -> tf.Tensor:
    """Sums `[B, …]` over all axes but the first: `[B]`."""
    return tf.reduce_sum(values, axis=list(range(1, values.shape.rank)))
