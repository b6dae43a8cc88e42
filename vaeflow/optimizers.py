"""Keras' optimizers, registered for gin and made safe on several replicas."""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from vaeflow import registry, validation
from vaeflow.kernels.adam import Adam, AdamW
from vaeflow.kernels.branch_free import BranchFree
from vaeflow.kernels.global_norm import global_norm

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


class SGD(BranchFree, keras.optimizers.SGD):
    """Keras' SGD, which can skip an update without a branch."""


for _optimizer in (
    Adam,
    AdamW,
    keras.optimizers.Adamax,
    keras.optimizers.Nadam,
    keras.optimizers.Adagrad,
    keras.optimizers.Lion,
    keras.optimizers.RMSprop,
    SGD,
):
    registry.optimizer(_optimizer, refused=_REFUSED)


class ParameterGroup(NamedTuple):
    """Variables with a loss of their own, and how they are updated.

    Attributes:
      variables: trainable Keras variables that are in no other group.
      optimizer: a Keras optimizer, made inside the strategy's scope; None for the run's own:
        the group then has a gradient of its own, but no optimizer of its own.
      gradient_clip_norm: the largest global norm of the variables' gradients; None does not
        clip them.
      first_step: the first step at which the variables are updated.
      every: they are updated at every so-many-th step from then on.
    """

    variables: list[keras.Variable]
    optimizer: Any = None
    gradient_clip_norm: float | None = None
    first_step: int = 0
    every: int = 1

    @property
    def is_always_due(self) -> bool:
        """Whether the variables are updated at each step."""
        return self.first_step == 0 and self.every == 1

    def is_due(self, step: int | tf.Tensor) -> tf.Tensor:
        """Whether the variables are updated at a step, a scalar of type bool."""
        step = tf.cast(step, tf.int64)
        return (step >= self.first_step) & (tf.math.floormod(step - self.first_step, self.every) == 0)


Groups = Mapping[str | None, ParameterGroup]


class JoinedLoss(NamedTuple):
    """A loss whose gradient is added to that of a parameter group, with a weight that both decide.

    Terms name it as they name a group. Its gradient with respect to the group's variables is
    computed apart, by a backward pass of its own, and summed over parts, accumulation and replicas as
    every other is. The weight is computed from the sums, so it is the same however the global batch
    is cut. Clipping follows.

    Attributes:
      weight: a function of two lists, the gradients of the group's own loss and of this loss, both
        of the global batch and in the order of the group's variables; returns a scalar.
      into: the group; None for the model's own variables.
    """

    weight: Callable[[list[tf.Tensor], list[tf.Tensor]], tf.Tensor]
    into: str | None = None


Joined = Mapping[str, JoinedLoss]


def gradients_of(
    tape: tf.GradientTape, losses: Mapping[str | None, tf.Tensor], groups: Groups, joined: Joined
) -> list[list[tf.Tensor]]:
    """Takes the gradient of each loss with respect to the variables that it moves.

    Args:
      tape: a persistent one where there is more than one loss.
      losses: a dict, name of a group or of a joined loss -> scalar.
      groups: name -> `ParameterGroup`.
      joined: name -> `JoinedLoss`.

    Returns:
      Lists of gradients, of the groups and then of the joined losses; 0 where a loss does not
      depend on a variable.
    """
    moved = {**{name: name for name in groups}, **{name: each.into for name, each in joined.items()}}
    gradients = []
    for name, group in moved.items():
        # TensorFlow's own variables: it cannot make the zero gradient of a Keras variable.
        variables = [variable.value for variable in groups[group].variables]
        zero = tf.UnconnectedGradients.ZERO
        gradients.append(tape.gradient(losses[name], variables, unconnected_gradients=zero))
    return gradients


def join(
    gradients: Sequence[list[tf.Tensor]], groups: Groups, joined: Joined
) -> tuple[list[list[tf.Tensor]], dict[str, tf.Tensor], dict[str, tf.Tensor]]:
    """Adds the gradients of joined losses to those of their groups.

    Args:
      gradients: as `gradients_of` returns them, of the global batch.
      groups: name -> `ParameterGroup`.
      joined: name -> `JoinedLoss`.

    Returns:
      The gradients of each group; the weight of each joined loss, name -> scalar; and the global
      norm of its gradient, not weighted.
    """
    own, apart = dict(zip(groups, gradients, strict=False)), gradients[len(groups) :]
    sums, weights, norms = dict(own), {}, {}
    for (name, each), added in zip(joined.items(), apart, strict=True):
        # From the group's own gradient, whatever else was added to it before.
        weight = weights[name] = tf.convert_to_tensor(each.weight(own[each.into], added))
        norms[name] = global_norm(added)
        sums[each.into] = [
            tf.convert_to_tensor(one) + tf.cast(weight, one.dtype) * tf.convert_to_tensor(other)
            for one, other in zip(sums[each.into], added, strict=True)
        ]
    return list(sums.values()), weights, norms


def optimizers_of(groups: Groups) -> dict[str | None, tuple[Any, list[keras.Variable]]]:
    """Returns each optimizer and all variables that it updates, under the name of its group.

    The run's own, under None, also updates the groups without an optimizer of their own.

    Args:
      groups: name -> `ParameterGroup`, None for the model's own variables.
    """
    found: dict[str | None, tuple[Any, list[keras.Variable]]] = {}
    for name, group in groups.items():
        owner = _owner(name, group)
        found.setdefault(owner, (groups[owner].optimizer, []))[1].extend(group.variables)
    return found


def apply_due(
    groups: Groups,
    gradients: Sequence[list[Any]],
    step: int | tf.Tensor,
    run: Callable[[Callable, tuple], Any],
    applies: Any = None,
) -> None:
    """Updates the variables of all groups that are due, each optimizer in one call.

    Args:
      groups: name -> `ParameterGroup`, None for the model's own variables.
      gradients: the gradients of each group's variables, in the order of `groups`.
      step: the global step.
      run: calls a function with arguments, e.g. `Strategy.run`.
      applies: whether anything is updated, a scalar of type bool on each replica, where the optimizers
        `can_select`; None where it is.
    """

    def apply(optimizer, variables, gradients):
        if applies is None:
            run(lambda values: optimizer.apply(values, variables), (gradients,))
        else:
            run(lambda *values: optimizer.apply_where(*values, variables), (applies, gradients))

    for owner, (optimizer, _) in optimizers_of(groups).items():
        members = [
            (group, group_gradients)
            for (name, group), group_gradients in zip(groups.items(), gradients, strict=True)
            if _owner(name, group) == owner
        ]
        _apply_chosen(functools.partial(apply, optimizer), members, [], step)


def can_select(groups: Groups) -> bool:
    """Whether all optimizers can skip an update by selection; see `BranchFree`."""
    return all(
        isinstance(optimizer, BranchFree) and all(variable.constraint is None for variable in variables)
        for optimizer, variables in optimizers_of(groups).values()
    )


def _apply_chosen(apply, undecided, chosen, step):
    """Applies the chosen gradients, and of the undecided those whose group is due."""
    if not undecided:
        if chosen:
            variables = [variable for group, _ in chosen for variable in group.variables]
            gradients = [gradient for _, gradients in chosen for gradient in gradients]
            apply(variables, gradients)
        return True
    (group, group_gradients), *rest = undecided

    def update():
        return _apply_chosen(apply, rest, [*chosen, (group, group_gradients)], step)

    def leave():
        return _apply_chosen(apply, rest, chosen, step)

    return update() if group.is_always_due else tf.cond(group.is_due(step), update, leave)


def _owner(name, group):
    """Names the group whose optimizer updates a group."""
    return None if group.optimizer is None else name


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


def check(optimizer: keras.optimizers.Optimizer) -> None:
    """Checks the hyperparameters of an optimizer and of its schedule; Keras takes any number.

    Raises:
      ValueError: one of them would make the training meaningless, e.g. a negative learning rate.
    """
    validation.check_attributes(optimizer)
    rate = _learning_rate(optimizer)
    name = f"{type(optimizer).__name__}.learning_rate"
    number = rate if is_scheduled(optimizer) else float(np.asarray(keras.ops.convert_to_numpy(rate)))
    validation.weight(name, number)


def is_scheduled(optimizer: keras.optimizers.Optimizer) -> bool:
    """Whether a schedule decides on the learning rate of an optimizer."""
    return isinstance(_learning_rate(optimizer), keras.optimizers.schedules.LearningRateSchedule)


def _learning_rate(optimizer) -> Any:
    return optimizer._learning_rate  # noqa: SLF001 -- the public one is the schedule's value


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
    check(optimizer)
    optimizer.build(variables)
    # A test pins this private method, for which Keras has no public switch.
    optimizer._all_reduce_sum_gradients = lambda pairs: pairs  # noqa: SLF001
