"""Keras' optimizers, made visible to gin and safe on several replicas."""

import keras

from vaeflow import registry

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
    keras.optimizers.Adam,
    keras.optimizers.AdamW,
    keras.optimizers.Adamax,
    keras.optimizers.Nadam,
    keras.optimizers.Adagrad,
    keras.optimizers.Lion,
    keras.optimizers.RMSprop,
    keras.optimizers.SGD,
):
    registry.optimizer(_optimizer, refused=_REFUSED)


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
