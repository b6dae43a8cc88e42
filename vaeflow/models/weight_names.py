"""The names of a model's weights: where each is in it, e.g. `encoder/blocks/1/kernel`."""

from __future__ import annotations

import fnmatch
from collections.abc import Container, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import keras

from vaeflow.errors import ConfigurationError
from vaeflow.layers import FrozenNet
from vaeflow.models import frozen_blocks

if TYPE_CHECKING:
    from vaeflow.models.base import Model

# Attributes of Keras, TensorFlow and this package in which layers stand that others hold.
_NOT_WALKED = ("_layers", "_functional", "_self_", "_constructor_arguments")


def named_weights(model: Model) -> dict[str, keras.Variable]:
    """Names the variables of a built model that its checkpoints hold, in their order.

    A name consists of the attributes and indices that lead from the model to a layer, and of the name
    that the layer gave the variable. Keras' own paths would not do: they hold the names of layers, which
    are numbered by what the process made before.

    Args:
      model: a built model.

    Returns:
      A dict, name -> variable.
    """
    names: dict[int, str] = {}
    _name_variables(model, "", names, set())
    found: dict[str, keras.Variable] = {}
    for variable in frozen_blocks.without(model, model.variables):
        found[_unused(names.get(id(variable)) or str(variable.path), found)] = variable
    return found


def names_in_checkpoints(model: Model, averages: bool) -> dict[str, list[str]]:
    """Names the variables of the lists `model` and `averages` in the checkpoints of a model, in order.

    Args:
      model: a built model.
      averages: whether the run keeps a moving average of the weights.
    """
    named = named_weights(model)
    names = {id(variable): name for name, variable in named.items()}
    averaged = model.averaged_variables() if averages else []
    return {"model": list(named), "averages": [names[id(variable)] for variable in averaged]}


def matching(names: Iterable[str], patterns: Sequence[str], setting: str) -> set[str]:
    """Chooses names by patterns.

    Args:
      names: names of weights.
      patterns: `*` stands for any letters, `/` included, `?` for one; the name of a block stands for all
        that is in it.
      setting: whose patterns they are, for the message.

    Raises:
      ConfigurationError: a pattern matches nothing.
    """
    names = list(names)
    chosen: set[str] = set()
    for pattern in patterns:
        matched = [
            name
            for name in names
            if fnmatch.fnmatchcase(name, pattern) or fnmatch.fnmatchcase(name, f"{pattern}/*")
        ]
        if not matched:
            blocks = ", ".join(dict.fromkeys(f"{name.partition('/')[0]}/*" for name in names))
            raise ConfigurationError(
                f"`{setting}` has the pattern {pattern!r}, which matches no weight; those here are {blocks}"
            )
        chosen.update(matched)
    return chosen


def chosen_variables(model: Model, patterns: Sequence[str], setting: str) -> list[keras.Variable]:
    """Returns the variables of a built model whose names match patterns; see `matching`."""
    named = named_weights(model) if patterns else {}
    return [named[name] for name in matching(named, patterns, setting)]


def summary(names: Sequence[str], most: int = 4) -> str:
    """Names weights for people: their number, and the blocks that they are in."""
    if not names:
        return "none"
    blocks = list(dict.fromkeys("/".join(name.split("/")[:-1]) or name for name in names))
    more = f", and {len(blocks) - most} more" if len(blocks) > most else ""
    return f"{len(names)} ({', '.join(blocks[:most])}{more})"


def _name_variables(layer: Any, prefix: str, names: dict[int, str], seen: set[int]) -> None:
    """Names the variables below a layer, and then its own: those that no layer in it has."""
    if id(layer) in seen or isinstance(layer, FrozenNet):
        return
    seen.add(id(layer))
    found = [(name, value) for name, value in vars(layer).items() if not name.startswith(_NOT_WALKED)]
    if isinstance(layer, keras.Model):  # A Sequential or functional one has them in no other attribute.
        found.append(("layers", layer.layers))
    for attribute, value in found:
        for path, inner in _layers_in(value, attribute.lstrip("_")):
            _name_variables(inner, f"{prefix}{path}/", names, seen)
    for variable in layer.variables:
        names.setdefault(id(variable), f"{prefix}{variable.name}")


def _layers_in(value: Any, path: str) -> Iterator[tuple[str, Any]]:
    """Yields the layers that an attribute holds, also in lists and dicts, and their paths."""
    if isinstance(value, keras.layers.Layer):
        yield path, value
    elif isinstance(value, (list, tuple)):
        for index, each in enumerate(value):
            yield from _layers_in(each, f"{path}/{index}")
    elif isinstance(value, dict):
        for key, each in value.items():
            yield from _layers_in(each, f"{path}/{key}")


def _unused(name: str, used: Container[str]) -> str:
    """Returns a name, or where it is used already, with a number."""
    candidate, number = name, 0
    while candidate in used:
        number += 1
        candidate = f"{name}_{number}"
    return candidate
