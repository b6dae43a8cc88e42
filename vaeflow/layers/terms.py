"""`Term`, a part of an objective; and `Update`, a change that no gradient makes."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import tensorflow as tf


class Term(NamedTuple):
    """One term of an objective.

    Attributes:
      value: unweighted, in nats unless the model says otherwise: `[b]`, per example; or a
        scalar computed from the batch in scope (see `Model`), equal on all replicas that
        share this batch.
      weight: a float or scalar tensor; the loss is the sum of weight · mean(value).
      group: the `ParameterGroup` whose variables it trains, one of the model's
        `parameter_groups`, or the `JoinedLoss` that it belongs to, one of the model's
        `joined_losses`; None for the model's own variables.
    """

    value: tf.Tensor
    weight: Any = 1.0
    group: str | None = None

    def weight_as(self, dtype: tf.DType) -> tf.Tensor:
        """Returns the weight as a scalar tensor of `dtype`."""
        if isinstance(self.weight, (int, float)):
            return tf.constant(self.weight, dtype)  # `tf.cast` would take it through float32.
        return tf.cast(self.weight, dtype)


def _logs_nothing(sums: Any) -> dict[str, tf.Tensor]:  # noqa: ARG001 -- As `Update.metrics`.
    return {}


class Update(NamedTuple):
    """A change of variables that no gradient makes, computed from sums over the global batch.

    The sums of all parts, accumulation steps and replicas are added up first. The change is then
    made once a step, together with those of the optimizers: on all replicas or, where the step
    is skipped, on none. It is not made in evaluation.

    Attributes:
      statistics: a tensor, or a nest of tensors: sums over this part's examples, of the dtype
        of the model's variables.
      new_values: a function of the sums over the global batch, a nest like `statistics`, and of no other
        tensor of the pass; returns pairs of a Keras variable that is not trainable, and its new value.
      metrics: a function of the same sums, which returns what of them is logged, name -> scalar.

    Example:
        def updates(self, forward, step):
            count = tf.cast(forward.num_examples, forward.latents.dtype)
            sums = (tf.reduce_sum(forward.latents, axis=0), count)
            return {"latent_mean": Update(sums, lambda s: [(self.mean, 0.9 * self.mean + 0.1 * s[0] / s[1])])}
    """

    statistics: Any
    new_values: Callable[[Any], Sequence[tuple[Any, tf.Tensor]]]
    metrics: Callable[[Any], dict[str, tf.Tensor]] = _logs_nothing
