"""All mass on one value."""

import dataclasses
from typing import Any

import tensorflow as tf


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

    def tempered(self, temperature: float) -> "Point":  # noqa: ARG002 -- `Distribution`
        """Returns itself: a point has no spread."""
        return self

    def draw(self, num_rows: Any = None, shared: bool = False) -> tuple[tf.Tensor, None]:  # noqa: ARG002 -- `Distribution`
        """Returns the value, and no density."""
        return self.center, None
