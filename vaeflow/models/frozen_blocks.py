"""The frozen blocks of a model: what a run neither trains nor saves."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import keras

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


def without(model: Model, variables: Iterable[Any]) -> list[Any]:
    """Returns those of a model's variables that no frozen block holds."""
    frozen = {id(variable) for block in _blocks(model) for variable in block.variables}
    return [variable for variable in variables if id(variable) not in frozen]


def num_weights(model: Model, noun: str = "") -> str:
    """Says how many weights a built model has, and how many of them are frozen; `noun` follows the number."""
    frozen = sum(block.count_params() for block in _blocks(model))
    return f"{model.count_params():,}{noun}" + (f" ({frozen:,} of them frozen)" if frozen else "")


def _blocks(model):
    return [layer for layer in model.all_layers() if isinstance(layer, FrozenNet)]
