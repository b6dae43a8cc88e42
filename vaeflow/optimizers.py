"""Keras' optimizers, made visible to gin and safe on several replicas."""

from typing import Any, NamedTuple

import keras
import tensorflow as tf

from vaeflow import registry
from vaeflow.kernels.adam import Adam, AdamW

_CLIPPING = "it would clip each replica's gradient before the sum; set `train.gradient_clip_norm` instead"

# What Keras' optimizers do per replica or behind the Trainer's back.
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
    """Variables that are trained together, by an optimizer of their own.

    Attributes:
      variables: trainable Keras variables, which are in no other group.
      optimizer: a Keras optimizer, made inside the strategy's scope.
      gradient_clip_norm: the largest global norm of their gradient, or None.
    """

    variables: list
    optimizer: Any
    gradient_clip_norm: float | None = None


def clip(gradients, largest_norm, norm=None):
    """Scales gradients to a global norm of at most `largest_norm`; None leaves them.

    Args:
      gradients: a list of tensors.
      largest_norm: a float or None.
      norm: their global norm, a scalar tensor, where it is known.

    Returns:
      A list of tensors.
    """
    if largest_norm is None:
        return gradients
    return tf.clip_by_global_norm(gradients, largest_norm, use_norm=norm)[0]


def build_for_reduced_gradients(optimizer, variables):
    """Builds `optimizer` to take gradients that are summed over the replicas already.

    Inside a replica `Optimizer.apply` sums over the replicas again; a Keras method
    is replaced on this one object so that it does not.

    Args:
      optimizer: a new Keras optimizer, made inside the strategy's scope.
      variables: the trainable variables it will update.
    """
    optimizer.build(variables)
    optimizer._all_reduce_sum_gradients = lambda gradients_and_variables: gradients_and_variables
