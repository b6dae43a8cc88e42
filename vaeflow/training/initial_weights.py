"""Starts a run from the weights of another, as far as both have weights of one name."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from vaeflow import validation
from vaeflow.errors import ConfigurationError, EnvironmentFailure
from vaeflow.models import weight_names
from vaeflow.runs.checkpoints import CheckpointStore
from vaeflow.runs.digest import arrays_sha256
from vaeflow.runs.initial_weights import InitialWeights
from vaeflow.training.settings import RunSettings
from vaeflow.training.trainer import Trainer

_SETTING = "train.initial_weights"
_MOST_NAMED = 5


class Source(NamedTuple):
    """A checkpoint to start from.

    Attributes:
      store: the `CheckpointStore` that it is in.
      step: its step.
    """

    store: CheckpointStore
    step: int

    @property
    def described(self) -> str:
        """Names it for people."""
        return f"{self.store.path(self.step)}"


def find(given: str) -> Source:
    """Finds the checkpoint that `train.initial_weights` names.

    Args:
      given: the work folder of a run, or one of its checkpoints.

    Raises:
      ConfigurationError: it is neither.
      EnvironmentFailure: it is damaged.
    """
    path = validation.path(_SETTING, given)
    is_checkpoint = path.parent.name == "checkpoints"
    store = CheckpointStore(path.parent if is_checkpoint else path / "checkpoints")
    if not store.steps():
        raise ConfigurationError(
            f"`{_SETTING}` must be the work folder of a run, e.g. 'runs/vae', or one of its checkpoints, and "
            f"there is no checkpoint in {store.folder}"
        )
    return Source(store, store.find(path if is_checkpoint else "best"))


def start(trainer: Trainer, source: Source, plan: RunSettings) -> InitialWeights:
    """Gives a trainer at step 0 the weights of a checkpoint; its moving average begins with them.

    Args:
      trainer: the `Trainer`.
      source: the checkpoint.
      plan: says which weights are taken.

    Returns:
      What was taken, left and missing.

    Raises:
      ConfigurationError: a weight that is to be taken has another shape here, a pattern matches nothing, or
        nothing is left to take.
      EnvironmentFailure: the checkpoint cannot be read.
    """
    arrays = source.store.read_weights(source.step)
    found = _named(source, arrays, trainer)
    own = weight_names.named_weights(trainer.model)
    wanted = _wanted(found, list(own), plan)
    taken = [name for name in own if name in wanted]
    if not taken:
        raise ConfigurationError(
            f"no weight of {source.described} has the name of one of this model that is to be taken: it has "
            f"{weight_names.summary(list(found))}, this model {weight_names.summary(list(own))}"
        )
    shapes = {name: (tuple(found[name].shape), tuple(own[name].shape)) for name in taken}
    _refuse_other_shapes(source, {name: pair for name, pair in shapes.items() if pair[0] != pair[1]}, plan)
    for name in taken:
        own[name].assign(found[name])
    trainer.restart_average()
    return InitialWeights(
        run=source.store.folder.resolve().parent.name,
        step=source.step,
        weights_sha256=arrays_sha256(arrays["model"]),
        averaged=bool(arrays["averages"]),
        taken=taken,
        left=[name for name in found if name not in shapes],
        missing=[name for name in own if name not in shapes],
    )


def described(taken: InitialWeights) -> str:
    """Describes what a run started from, for its header."""
    kind = "averaged weights" if taken.averaged else "weights"
    parts = [
        f"{kind} of step {taken.step:,} of {taken.run}, SHA-256 {taken.weights_sha256[:12]}…",
        *(
            f"{name} {weight_names.summary(names)}"
            for name, names in (("taken", taken.taken), ("left", taken.left), ("missing", taken.missing))
        ),
    ]
    return "; ".join(parts)


def _named(
    source: Source, arrays: Mapping[str, Sequence[np.ndarray]], trainer: Trainer
) -> dict[str, np.ndarray]:
    """Returns the weights of a checkpoint by name, the averages in place of what they are averages of."""
    names = source.store.record(source.step).get("weights") or _names_of_equal_model(source, arrays, trainer)
    if any(len(names.get(kind, ())) != len(values) for kind, values in arrays.items()):
        raise EnvironmentFailure(
            f"the record of {source.described} does not name the weights that it holds; choose another "
            "checkpoint"
        )
    return {
        name: value
        for kind in ("model", "averages")
        for name, value in zip(names[kind], arrays[kind], strict=True)
    }


def _names_of_equal_model(source, arrays, trainer):
    """Returns the names for a checkpoint of an older version, which has none, if it is of an equal model."""
    names = weight_names.names_in_checkpoints(trainer.model, bool(arrays["averages"]))
    shapes = [tuple(variable.shape) for variable in weight_names.named_weights(trainer.model).values()]
    is_equal = [value.shape for value in arrays["model"]] == shapes
    if not is_equal or len(arrays["averages"]) != len(names["averages"]):
        raise ConfigurationError(
            f"an older version wrote {source.described}, without the names of its weights, so only the same "
            "model can start from it; resume that run for a step first, which names them"
        )
    return names


def _wanted(found, own, plan):
    """Returns the names of the weights that a user wants to take."""
    wanted = set(found)
    if plan.initial_weights_of:
        wanted = weight_names.matching(found, plan.initial_weights_of, f"{_SETTING}_of")
    both = dict.fromkeys([*found, *own])
    return wanted - weight_names.matching(both, plan.initial_weights_except, f"{_SETTING}_except")


def _refuse_other_shapes(source, differing, plan):
    if not differing:
        return
    listed = [f"{name} {there} there and {here} here" for name, (there, here) in differing.items()]
    more = f", and {len(listed) - _MOST_NAMED} more" if len(listed) > _MOST_NAMED else ""
    left_out = (*plan.initial_weights_except, *differing)
    raise ConfigurationError(
        f"weights of {source.described} have other shapes than this model's: "
        f"{', '.join(listed[:_MOST_NAMED])}{more}; to start without them set {_SETTING}_except = {left_out!r}"
    )
