"""The frozen blocks of a model: what a run does not train, and of nets out of files does not save."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import keras

from vaeflow.errors import ConfigurationError
from vaeflow.layers import FrozenNet
from vaeflow.runs.frozen_files import FrozenFile

if TYPE_CHECKING:
    from vaeflow.models.base import Model


def outside(layers: list[keras.layers.Layer]) -> list[keras.layers.Layer]:
    """Returns those of all layers of a model that are not inside a frozen block."""
    inside = {id(layer) for block in layers if isinstance(block, FrozenNet) for layer in block.inner_layers()}
    return [layer for layer in layers if id(layer) not in inside]


def files(model: Model) -> list[FrozenFile]:
    """Lists the files whose weights a built model's frozen blocks hold."""
    return [block.frozen_file for block in _blocks(model)]


def saved_models(model: Model) -> list[str]:
    """Lists the names of the SavedModels among them, which a `.keras` file of the model does not hold."""
    return [block.file.name for block in _blocks(model) if block.is_saved_model]


def without(model: Model, variables: Iterable[Any]) -> list[Any]:
    """Returns those of a model's variables that no frozen block holds."""
    frozen = {id(variable) for block in _blocks(model) for variable in block.variables}
    return [variable for variable in variables if id(variable) not in frozen]


def freeze(model: Model, variables: Iterable[keras.Variable]) -> None:
    """Freezes variables of a built model, before its optimizer is built.

    A layer all of whose variables are frozen is made `trainable = False`, as in Keras: so a
    `BatchNormalization` keeps its statistics, and normalizes by them.

    Args:
      model: a built model.
      variables: some of its own.

    Raises:
      ConfigurationError: one is in a parameter group that has an optimizer of its own, or nothing would
        be left to train.
    """
    chosen = {id(variable) for variable in variables}
    if not chosen:
        return
    for name, group in model.parameter_groups().items():
        if any(id(variable) in chosen for variable in group.variables):
            raise ConfigurationError(
                f"`train.frozen` names weights of the parameter group {name!r}, which has a loss of its "
                "own; name others, or leave out of the model what trains them"
            )
    for layer in model.all_layers():
        if layer.variables and all(id(variable) in chosen for variable in layer.variables):
            layer.trainable = False
    for variable in model.variables:
        if id(variable) in chosen:
            variable.trainable = False
    if not model.all_parameter_groups(None)[None].variables:
        raise ConfigurationError(
            "`train.frozen` leaves no weight of the model to train; name fewer, or use the model as it is "
            "with `vaeflow evaluate` and the other commands"
        )


def num_weights(model: Model, noun: str = "") -> str:
    """Says how many weights a built model has, and how many are frozen; `noun` follows the number.

    Frozen are those of nets out of files, and those that `freeze` has frozen.
    """
    frozen = [layer for layer in model.all_layers() if not layer.trainable]
    weights = {id(weight): weight for layer in frozen for weight in layer.weights}
    count = sum(math.prod(weight.shape) for weight in weights.values())
    return f"{model.count_params():,}{noun}" + (f" ({count:,} of them frozen)" if count else "")


def _blocks(model):
    return [layer for layer in model.all_layers() if isinstance(layer, FrozenNet)]
