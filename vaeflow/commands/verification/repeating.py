"""Repeats intervals of a run from its checkpoints, with the run's own loop and callbacks.

A repetition is a run whose work folder cannot be written, as a worker has one that is not the chief: the
callbacks measure what they measured then, and have no effects.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import inspect
import math
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from vaeflow import config
from vaeflow.callbacks import Callback, RunContext
from vaeflow.commands import assembly, session
from vaeflow.commands.assembly import Data
from vaeflow.commands.verification import states
from vaeflow.devices import strategies
from vaeflow.errors import ConfigurationError, EnvironmentFailure, Preempted, TrainingDiverged
from vaeflow.models import frozen_blocks
from vaeflow.runs import checkpoint_files, frozen_files
from vaeflow.runs.checkpoints import CheckpointStore
from vaeflow.runs.signals import StopRequest
from vaeflow.runs.watchdog import Watchdog
from vaeflow.runs.workdir import WorkDir
from vaeflow.training import initial_weights, making, next_loop, run_loop
from vaeflow.training.settings import RunSettings, TrainingSettings


@dataclasses.dataclass(frozen=True)
class Way:
    """How intervals are repeated.

    Attributes:
      name: for people, e.g. `"as it was run"`.
      replicas: the number of replicas.
      precision: one of `making.PRECISIONS`.
      is_original: whether it is as the run did it.
    """

    name: str
    replicas: int
    precision: str
    is_original: bool = False


@dataclasses.dataclass(frozen=True)
class Interval:
    """Steps to repeat.

    Attributes:
      start: the step of the checkpoint, 0 for the start of the run.
      end: the step of the next line in the log; None if there is none.
      checkpoint: the folder of the checkpoint. That of step 0 is made by the first repetition.
      end_checkpoint: the folder of the checkpoint of step `end`; None if there is none.
      measures_start: whether what the callbacks measure at `start` is measured too.
    """

    start: int
    end: int | None
    checkpoint: str
    end_checkpoint: str | None = None
    measures_start: bool = False


@dataclasses.dataclass(frozen=True)
class Repeated:
    """What the repetition of an interval gave.

    Attributes:
      digest: the SHA-256 of the weights at its start.
      at_start: what the callbacks measured there.
      lines: what was logged, with `step`.
      state: how the state at the end differs from the checkpoint there; None if there is none.
      from_original: how far the weights at the end are from those of the repetition as it was run: the
        Euclidean norm of the difference, relative to that of the weights.
      problem: why it ended early, or None.
    """

    digest: str = ""
    at_start: dict[str, float] = dataclasses.field(default_factory=dict)
    lines: list[dict[str, float]] = dataclasses.field(default_factory=list)
    state: dict[str, Any] | None = None
    from_original: float = 0.0
    problem: str | None = None


def from_json(content: Mapping[str, Any]) -> Repeated:
    """Makes a `Repeated` of what JSON holds of one: null is NaN."""
    as_numbers = {name: _with_nan(content[name]) for name in ("at_start", "lines")}
    return Repeated(**{**content, **as_numbers})


def _with_nan(values: Any) -> Any:
    if isinstance(values, list):
        return [_with_nan(each) for each in values]
    return {name: math.nan if value is None else value for name, value in values.items()}


def run_values() -> dict[str, Any]:
    """Returns what gin gives to `train`, with the callbacks of a run that names none."""
    values = config.values_of("train")
    callbacks = session.default_callbacks() if values["callbacks"] is None else values["callbacks"]
    return values | {"callbacks": callbacks}


def repeat(
    way: Way,
    intervals: Sequence[Interval],
    values: Mapping[str, Any],
    data: Data,
    scratch: pathlib.Path,
    watchdog: Watchdog,
) -> list[Repeated]:
    """Repeats intervals in one way.

    Args:
      way: how.
      intervals: which, in ascending order.
      values: what gin gives to `train`, name -> value.
      data: the data of the run.
      scratch: a temporary folder.
      watchdog: hears of each part.

    Raises:
      ConfigurationError: the run cannot be made in this way; nothing was repeated.
      EnvironmentFailure: the disk or the data failed.
    """
    settings = _settings_for(way, values)
    callbacks = values["callbacks"]
    with making.precision(values["precision"]):  # And set back what it was.
        with config.values_checked():
            strategy = _strategy(values["strategy"], way.replicas)
            parts = assembly.Parts(
                *making.make_all(
                    settings[1].seed, way.precision, strategy, values["model"], values["optimizer"]
                )
            )
        found = parts.strategy.num_replicas_in_sync
        if found != way.replicas:
            raise ConfigurationError(f"`train.strategy` makes {found} replicas here, not {way.replicas}")
        workdir = WorkDir(scratch, writable=False)
        context = assembly.make_context(parts, data, settings, workdir, StopRequest(), "")
        if settings[0].initial_weights is not None and any(each.start == 0 for each in intervals):
            source = initial_weights.find(settings[0].initial_weights)
            initial_weights.start(context.trainer, source, settings[0])
        return [_repeated(way, each, context, callbacks, watchdog) for each in intervals]


def _settings_for(way: Way, values: Mapping[str, Any]) -> tuple[RunSettings, TrainingSettings]:
    plan, training = making.checked({**values, "precision": way.precision})
    if way.replicas > 1 and not way.is_original:
        training = dataclasses.replace(training, compile_mode="auto")  # 'loop' works on one only.
    return plan, training


def _strategy(factory: Callable, num_replicas: int) -> Callable:
    """Returns what makes the strategy: the run's own, if it is not one that takes all devices."""
    if inspect.unwrap(factory) not in (strategies.automatic, strategies.mirrored):
        return factory
    devices = [device.name for device in tf.config.list_logical_devices(assembly.device_kind())]
    return functools.partial(strategies.mirrored, devices[:num_replicas])


def _repeated(
    way: Way, interval: Interval, context: RunContext, callbacks: Sequence[Callback], watchdog: Watchdog
) -> Repeated:
    watchdog.progress(f"step {interval.start}, {way.name}")
    trainer, folder = context.trainer, pathlib.Path(interval.checkpoint)
    if interval.start == 0 and not folder.exists():
        CheckpointStore(folder.parent, image_shape=trainer.split.shape).save(trainer.checkpoint(), 0)
    found = Repeated()
    casts = way.precision == "float64"
    try:
        _restore(context, folder, interval.start, casts)
        found = dataclasses.replace(found, digest=assembly.weights_digest(trainer.model))
        if interval.measures_start:
            found = dataclasses.replace(found, at_start=_measured(context, callbacks))
        if interval.end is None:
            return found
        lines = _train(context, interval.end, callbacks, watchdog)
        found = dataclasses.replace(found, lines=lines)
        if interval.end_checkpoint is None:
            return found
        state = states.compare(trainer.checkpoint(), pathlib.Path(interval.end_checkpoint))
        kept = context.workdir.path / f"weights-{interval.start}.npz"
        distance = _from_original(states.weights(trainer.checkpoint()), kept, way)
        return dataclasses.replace(found, state=state, from_original=distance)
    except (TrainingDiverged, _UnfitError) as error:
        return dataclasses.replace(found, problem=str(error))


def _from_original(weights: Mapping[str, np.ndarray], kept: pathlib.Path, way: Way) -> float:
    """Returns how far weights are from those of the original way, which keeps its own in a file."""
    if way.is_original:
        np.savez(kept, allow_pickle=False, **weights)
    if not kept.exists():  # The original way failed.
        return 0.0
    with np.load(kept, allow_pickle=False) as original:
        return states.distance(original, weights)


def _measured(context: RunContext, callbacks: Sequence[Callback]) -> dict[str, float]:
    """Returns what the callbacks measure at a checkpoint."""
    due = [callback for callback in callbacks if callback.is_due(context)]
    return {name: value for each in due for name, value in run_loop.measured(each, context).items()}


class _UnfitError(Exception):
    """A checkpoint is not of the configuration's model."""


def _restore(context: RunContext, folder: pathlib.Path, step: int, casts: bool) -> None:
    trainer = context.trainer
    record = checkpoint_files.read_record(folder, step)
    try:
        if step:
            frozen_files.check(folder, record, frozen_blocks.files(trainer.model))
        problem = checkpoint_files.restore(trainer.checkpoint(), folder, casts)
    except ConfigurationError as error:
        raise _UnfitError(str(error)) from error
    if problem is not None:
        raise EnvironmentFailure(f"the checkpoint {folder} cannot be read: {problem}")
    trainer.resume_at(step, record["totals"])
    context.states = record.get("callbacks", {})


def _train(
    context: RunContext, end: int, callbacks: Sequence[Callback], watchdog: Watchdog
) -> list[dict[str, float]]:
    """Trains to a step where the run has logged; returns what was logged on the way."""
    run = dataclasses.replace(context, stop_request=StopRequest(), metrics={})
    if run.num_steps < end or next_loop.next_stop(run.trainer, run.num_steps, callbacks) > end:
        run.num_steps = end  # The run ended there once, and has a line that its cadences do not give.
    lines = _Lines(end)
    with contextlib.suppress(Preempted):  # `lines` stops it.
        run_loop.train_to_end(run, [*callbacks, lines], watchdog)
    return lines.found


class _Lines(Callback):
    """Keeps what is logged, and ends the run at a step."""

    on_every_worker = True

    def __init__(self, end: int) -> None:
        super().__init__()
        self.end = end
        self.found: list[dict[str, float]] = []

    def on_log(self, run: RunContext, metrics: dict[str, float]) -> None:
        """Keeps a line."""
        examples = run.step * run.trainer.settings.batch_size
        self.found.append({"step": run.step, "examples_seen": examples, **metrics})
        if run.step >= self.end:
            run.stop("the end of the interval")
