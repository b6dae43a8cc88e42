"""The settings of a training: each is written, documented and checked here, once."""

import dataclasses
import inspect
import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

from vaeflow import registry, validation
from vaeflow.devices import compile_modes
from vaeflow.errors import ConfigurationError

_EXAMPLES = {
    "num_steps": "in a gin file write for instance train.num_steps = 10000, or train.num_epochs = 10",
    "batch_size": "in a gin file write for instance train.batch_size = 64",
}
_LARGEST_BATCH = 2**24
_MOST_INDICES = 2**28  # They take 1 GiB.
_Function = TypeVar("_Function", bound=Callable)


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainingSettings:
    """How a `Trainer` trains, whatever the model, the data and the devices.

    Args:
      batch_size: the global batch size, divided evenly over the replicas.
      seed: seeds the order of examples and the noise; the `train` command also seeds the
        initial weights with it.
      steps_per_loop: steps between two logs, run in one compiled call; slow models split
        them into calls of about 4 s so that signals are handled promptly.
      compile_mode: what XLA compiles: `"none"`, `"step"`, `"loop"`, which needs one replica, or
        `"auto"`; see `compile_modes`.
      resident_data: whether the devices hold the training split: True, False, or `"auto"`,
        which holds an array that takes at most a quarter of a device's free memory.
      gradient_clip_norm: the largest global norm of the gradient, or None.
      skip_gradient_norm: a step in which the global norm of a gradient, before it is clipped,
        reaches this is skipped and counted, in the metric `skipped` (Child 2021,
        arXiv:2011.10650, section 4); None skips none.
      gradient_accumulation_steps: parts into which each replica cuts its examples, to save
        memory; the gradient is still that of the global batch.
      bytes_per_pack: about how many bytes several replicas sum at a time; 0 for all gradients at once.
        In packs, the gradients of the last layers travel while those of the first are computed, unless
        XLA compiles the step. Packs may change the weights by rounding.
      ema_decay: the decay of a moving average of the weights, with which the model is
        evaluated, a codebook of it too; None for no average.
      frozen: the weights that stay as they are, by name or pattern: `"encoder"` or `"encoder/*"` for a
        block, `"decoder/blocks/0/kernel"` for one weight. No gradient and no update of the
        model changes them, the optimizer and the moving average leave them out, and a
        `BatchNormalization` among them normalizes by its moving statistics.

    Raises:
      ConfigurationError: a setting is out of range.
      ValueError: likewise.
    """

    batch_size: int
    seed: int = 0
    steps_per_loop: int = 100
    compile_mode: str = "auto"
    resident_data: bool | str = "auto"
    gradient_clip_norm: float | None = None
    skip_gradient_norm: float | None = None
    gradient_accumulation_steps: int = 1
    bytes_per_pack: int = 0
    ema_decay: float | None = None
    frozen: str | Sequence[str] = ()

    def __post_init__(self):
        validation.positive_integer("train.batch_size", self.batch_size, _LARGEST_BATCH)
        validation.seed("train.seed", self.seed)
        validation.positive_integer("train.steps_per_loop", self.steps_per_loop)
        if self.steps_per_loop * self.batch_size > _MOST_INDICES:
            raise ConfigurationError(
                f"`train.steps_per_loop` must be at most {_MOST_INDICES // self.batch_size:,} with a batch "
                f"of {self.batch_size:,}, got {self.steps_per_loop:,}: memory holds the order of a loop's "
                "examples"
            )
        validation.one_of("train.compile_mode", self.compile_mode, compile_modes.MODES)
        if self.gradient_clip_norm is not None:
            validation.positive_number("train.gradient_clip_norm", self.gradient_clip_norm)
        if self.skip_gradient_norm is not None:
            validation.positive_number("train.skip_gradient_norm", self.skip_gradient_norm)
        validation.positive_integer("train.gradient_accumulation_steps", self.gradient_accumulation_steps)
        validation.non_negative_integer("train.bytes_per_pack", self.bytes_per_pack)
        if self.ema_decay is not None:
            validation.fraction("train.ema_decay", self.ema_decay)
        _set(self, "frozen", validation.texts("train.frozen", self.frozen))


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunSettings:
    """From where to where a run goes, and how long it waits.

    Args:
      num_steps: the number of steps to train.
      num_epochs: in its place, how often each training image is seen: the run ends with the step that
        completes the last epoch, whatever the batch size. Schedules of the run's length have that many steps.
      max_seconds: the run stops with its state saved, and exit code 42, so that it has ended this many
        seconds after it was started or resumed: for queues with a time limit. It stops before
        what would take longer, judged by the last time; None for no limit.
      initial_weights: the work folder of a run, or one of its checkpoints, from whose weights a new
        run starts: of a folder those of the best checkpoint, else of the newest; of a run with
        `ema_decay` the averages. A weight is taken by its name, such as
        `encoder/blocks/1/kernel`; the optimizer starts anew. A run that resumes does not read it.
      initial_weights_of: which weights are taken, by name or pattern, as for `frozen`; empty
        for all.
      initial_weights_except: which are not, by name or pattern, for instance since their shapes
        differ.
      stall_seconds: end the run after this many seconds without progress; None disables it.
      start_seconds: how long several workers wait for one another at the start.
      peer_seconds: seconds of silence after which a worker counts as lost and the others
        stop.

    Raises:
      ConfigurationError: a setting is out of range.
      ValueError: likewise.
    """

    num_steps: int | None = None
    num_epochs: int | None = None
    max_seconds: float | None = None
    initial_weights: str | None = None
    initial_weights_of: str | Sequence[str] = ()
    initial_weights_except: str | Sequence[str] = ()
    stall_seconds: float | None = 900
    start_seconds: float = 120
    peer_seconds: float = 30

    def __post_init__(self):
        if self.num_steps is not None and self.num_epochs is not None:
            raise ConfigurationError(
                f"`train.num_steps` is {self.num_steps!r} and `train.num_epochs` {self.num_epochs!r}; set "
                "one of them, and the other to None"
            )
        if self.num_epochs is not None:
            validation.positive_integer("train.num_epochs", self.num_epochs)
        elif self.num_steps is None:
            raise ConfigurationError(f"`train.num_steps` must be set; {_EXAMPLES['num_steps']}")
        else:
            validation.positive_count("train.num_steps", self.num_steps)
        if self.max_seconds is not None:
            validation.positive_number("train.max_seconds", self.max_seconds)
        if self.initial_weights is not None:
            validation.path("train.initial_weights", self.initial_weights)
        for name in ("initial_weights_of", "initial_weights_except"):
            patterns = validation.texts(f"train.{name}", getattr(self, name))
            if patterns and self.initial_weights is None:
                raise ConfigurationError(
                    f"`train.{name}` says nothing without `train.initial_weights`; set it"
                )
            _set(self, name, patterns)
        if self.stall_seconds is not None:
            validation.positive_number("train.stall_seconds", self.stall_seconds)
        validation.positive_number("train.start_seconds", self.start_seconds)
        validation.positive_number("train.peer_seconds", self.peer_seconds)

    def steps_for(self, num_examples: int, batch_size: int) -> int:
        """Returns the number of steps to train.

        Args:
          num_examples: of the training split.
          batch_size: of the global batch.
        """
        if self.num_epochs is None:
            assert self.num_steps is not None  # Checked above.
            return self.num_steps
        return -(-self.num_epochs * num_examples // batch_size)

    @property
    def longest_stall(self) -> float:
        """`stall_seconds`, infinite for None."""
        return math.inf if self.stall_seconds is None else self.stall_seconds


def _set(settings: Any, name: str, value: Any) -> None:
    """Gives a field of frozen settings the form in which it is used."""
    object.__setattr__(settings, name, value)


def taken_from(settings_class: type, values: dict[str, Any]) -> Any:
    """Makes one of the classes above from those of `values` that are its fields.

    Raises:
      ConfigurationError: one that must be given is missing, or a value is wrong.
    """
    fields = dataclasses.fields(settings_class)
    for field in fields:
        if field.default is dataclasses.MISSING and field.name not in values:
            raise ConfigurationError(f"`train.{field.name}` must be set; {_EXAMPLES[field.name]}")
    return settings_class(**{field.name: values[field.name] for field in fields if field.name in values})


def refuse_unknown(names: Iterable[str]) -> None:
    """Raises `TypeError` for a name that is a field of neither class; proposes the nearest."""
    known = {field.name for each in (RunSettings, TrainingSettings) for field in dataclasses.fields(each)}
    for name in names:
        if name not in known:
            raise TypeError(f"there is no setting {name!r}{registry.did_you_mean(name, known)}")


def with_settings(function: _Function) -> _Function:
    """Gives a function whose `**settings` are the fields of both classes a signature that names them.

    gin, `vaeflow list` and a user's editor then know each setting, its default, and which
    must be given.
    """
    described: Any = function
    signature = inspect.signature(function)
    own = [each for each in signature.parameters.values() if each.kind is not each.VAR_KEYWORD]
    fields = [
        parameter
        for settings_class in (RunSettings, TrainingSettings)
        for parameter in inspect.signature(settings_class).parameters.values()
    ]
    described.__signature__ = signature.replace(parameters=[*own, *fields])
    described.settings_classes = (RunSettings, TrainingSettings)
    return function
