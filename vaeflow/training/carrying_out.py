"""The end of a step: what it has computed changes the weights, on all replicas or on none."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from vaeflow import optimizers
from vaeflow.devices import replicas
from vaeflow.training.moving_average import MovingAverage


class StepResult(NamedTuple):
    """What one step computes before anything is changed.

    Attributes:
      gradients: the clipped gradients of each group's variables, in the order of the groups.
      new_values: the values that the model's updates give, in the order of
        `ReplicaStep.updated_variables`.
      metrics: scalars of the global batch.
      finite: whether all of these are finite.
      applies: whether the step is carried out: it is finite, and no gradient's norm reaches
        `TrainingSettings.skip_gradient_norm`.
    """

    gradients: list[list[tf.Tensor]]
    new_values: list[tf.Tensor]
    metrics: dict[str, tf.Tensor]
    finite: tf.Tensor
    applies: tf.Tensor


def selects(groups: optimizers.Groups) -> bool:
    """Whether steps are skipped by selection, not by a branch.

    A branch is decided by the host, which would wait for a GPU at each step. On a CPU it waits for nothing,
    and a branch saves a pass over the gradients. Optimizers of Keras' that cannot select keep it.

    Args:
      groups: name -> `ParameterGroup`.
    """
    return bool(tf.config.list_logical_devices("GPU")) and optimizers.can_select(groups)


def carry_out(
    strategy: tf.distribute.Strategy,
    groups: optimizers.Groups,
    variables: Sequence[keras.Variable],
    result: StepResult,
    step: int | tf.Tensor,
    average: MovingAverage | None,
    by_selection: bool,
) -> tf.Tensor:
    """Updates the weights, what the model's updates change, and the average; call it outside of a replica.

    Args:
      strategy: the strategy of the variables.
      groups: name -> `ParameterGroup`.
      variables: what the model's updates change.
      result: the `StepResult` of each replica.
      step: the global step.
      average: of the weights; None for none.
      by_selection: see `selects`.

    Returns:
      A tensor that is known when this is done.
    """
    applies = result.applies if by_selection else None

    def update():
        optimizers.apply_due(groups, result.gradients, step, strategy.run, applies)
        for variable, value in zip(variables, result.new_values, strict=True):
            strategy.extended.update(variable.value, _assign, args=(value, applies))
        if average is not None:
            average.update(groups[None].optimizer.iterations, applies)
        return True

    if by_selection:
        update()
        # What optimizers count last.
        return tf.identity(groups[None].optimizer.iterations)
    return tf.cond(replicas.first_replica(strategy, result.applies), update, lambda: False)


def _assign(variable: tf.Variable, value: tf.Tensor, applies: Any) -> None:
    variable.assign(value if applies is None else tf.where(applies, value, variable))
