"""A distribution that flows transform: invertible functions whose Jacobian has a known determinant."""

import dataclasses
from collections.abc import Sequence
from typing import Any, Protocol

import tensorflow as tf

from vaeflow.distributions.gaussian import Gaussian


class Flow(Protocol):
    """An invertible function of rows `[r, D]`."""

    def forward(self, value: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns f(value) `[r, D]`, and log abs det ∂f/∂value `[r]`."""
        ...

    def inverse(self, value: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns the u `[r, D]` whose f(u) is `value`, and log abs det ∂f/∂u `[r]`."""
        ...


@dataclasses.dataclass(frozen=True)
class Transformed:
    """The distribution of f_T(… f_1(u)), for u from a base distribution: a normalizing flow.

    Rezende & Mohamed 2015 (arXiv:1505.05770), section 3.1: log p(value) is log p(u) minus
    Σ_t log abs det ∂f_t.

    Args:
      base: the distribution of u, over `[r, D]`, or over `[D]` as a prior's is.
      flows: f_1 … f_T.
    """

    base: Gaussian
    flows: Sequence[Flow]

    @property
    def center(self) -> tf.Tensor:
        """Where the flows take the mean of the base: neither the mean nor a mode, but inside the bulk."""
        mean = self.base.mean
        center, _ = self._forward(mean[None] if mean.shape.rank == 1 else mean)
        return tf.reshape(center, tf.shape(mean))

    @property
    def parameters(self) -> dict[str, tf.Tensor]:
        """Those of the base: `base_mean` and `base_log_variance`."""
        return {f"base_{name}": value for name, value in self.base.parameters.items()}

    def draw(self, num_rows: Any = None, shared: bool = False) -> tuple[tf.Tensor, tf.Tensor]:
        """Draws from the base and transforms it; see `Distribution.draw`."""
        value, log_prob = self.base.draw(num_rows, shared)
        value, log_determinant = self._forward(value)
        return value, log_prob - log_determinant

    def log_prob(self, value: tf.Tensor) -> tf.Tensor:
        """Returns log p(value), `[r]`, by the inverse of the flows."""
        value = tf.cast(value, self.base.mean.dtype)
        log_determinant = tf.zeros(tf.shape(value)[:1], value.dtype)
        for flow in reversed(self.flows):
            value, of_flow = flow.inverse(value)
            log_determinant += of_flow
        return self.base.log_prob(value) - log_determinant

    def tempered(self, temperature: float) -> "Transformed":
        """Tempers the base; see `Distribution.tempered`."""
        return dataclasses.replace(self, base=self.base.tempered(temperature))

    def _forward(self, value):
        log_determinant = tf.zeros(tf.shape(value)[:1], value.dtype)
        for flow in self.flows:
            value, of_flow = flow.forward(value)
            log_determinant += of_flow
        return value, log_determinant
