"""Keras' optimizers, registered for gin and made safe on several replicas."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from vaeflow import registry
from vaeflow.kernels.adam import Adam, AdamW

_CLIPPING = "it would clip each replica's gradient before the sum; set `train.gradient_clip_norm` instead"

# Arguments of Keras' optimizers that would act on each replica, or that the trainer replaces.
_REFUSED = {
    "clipnorm": _CLIPPING,
    "clipvalue": _CLIPPING,
    "global_clipnorm": _CLIPPING,
    "use_ema": "set `train.ema_decay` instead",
    "ema_momentum": "set `train.ema_decay` instead",
    "ema_overwrite_frequency": "set `train.ema_decay` instead",
    "gradient_accumulation_steps": "set `train.gradient_accumulation_steps` instead",
    "loss_scale_factor": "mixed_bfloat16 needs no loss scaling",
}


for _optimizer in (
    Adam,
    AdamW,
    keras.optimizers.Adamax,
    keras.optimizers.Nadam,
    keras.optimizers.Adagrad,
    keras.optimizers.Lion,
    keras.optimizers.RMSprop,
    keras.optimizers.SGD,
):
    registry.optimizer(_optimizer, refused=_REFUSED)


class ParameterGroup(NamedTuple):
    """Variables that share an optimizer.

    Attributes:
      variables: trainable Keras variables that are in no other group.
      optimizer: a Keras optimizer, made inside the strategy's scope.
      gradient_clip_norm: the largest global norm of the variables' gradients; None does not
        clip them.
    """

    variables: list[keras.Variable]
    optimizer: Any
    gradient_clip_norm: float | None = None


def clip(gradients: list[Any], largest_norm: float | None, norm: tf.Tensor | None = None) -> list[tf.Tensor]:
    """Scales gradients down to a global norm of at most `largest_norm`.

    Args:
      gradients: a list of tensors.
      largest_norm: a float; None returns the gradients as they are.
      norm: the global norm of the gradients, a scalar tensor; None computes it.

    Returns:
      A list of tensors.
    """
    if largest_norm is None:
        return gradients
    return tf.clip_by_global_norm(gradients, largest_norm, use_norm=norm)[0]


def build_for_reduced_gradients(
    optimizer: keras.optimizers.Optimizer, variables: Sequence[keras.Variable]
) -> None:
    """Builds `optimizer` for gradients that are already summed over the replicas.

    Inside a replica `Optimizer.apply` would sum them again. This replaces the Keras method
    that does so, on this object only.

    Args:
      optimizer: a new Keras optimizer, made inside the strategy's scope.
      variables: the trainable variables that it will update.
    """
    optimizer.build(variables)
    # A test pins this private method, for which Keras has no public switch.
    optimizer._all_reduce_sum_gradients = lambda pairs: pairs  # noqa: SLF001
