"""Schedules: functions of the global step, for learning rates and loss weights."""

import math
import numbers
from collections.abc import Callable, Iterable
from typing import Any

import keras
import tensorflow as tf

from vaeflow import registry, validation
from vaeflow.errors import ConfigurationError, user_code

# A step after the end of every schedule: that of a model in use.
END_OF_TIME = 2**31 - 1


def value_at(value: float | Callable[[Any], tf.Tensor], step: int | tf.Tensor) -> float | tf.Tensor:
    """Evaluates a number or a schedule at a step.

    Args:
      value: a number, or a function of the step such as a `Schedule`.
      step: the global step; a tensor is a scalar.

    Returns:
      The number itself, or the schedule's value, a scalar tensor.
    """
    if not callable(value):
        return value
    with user_code.running(value):
        result = value(step)
    if not isinstance(result, numbers.Real) and getattr(result, "shape", None) != ():
        given = user_code.described(result)
        raise user_code.wrong(value, "", f"must give a number or a scalar tensor at a step, it gave {given}")
    return result


class Schedule(keras.optimizers.schedules.LearningRateSchedule):
    """Moves from `start` to `end` over `num_steps` steps and stays there.

    A subclass defines the curve in between by `progress`.

    Args:
      start: the value at step 0.
      end: the value from step `num_steps` on.
      num_steps: the number of steps in between; None for that of the run.

    Raises:
      ValueError: a setting is out of range.

    Example:
        @registry.schedule
        class QuadraticSchedule(Schedule):
            def progress(self, fraction):
                return tf.square(tf.minimum(fraction, 1.0))
    """

    def __init__(self, start: float = 0.0, end: float = 1.0, num_steps: int | None = None):
        own = type(self).__name__
        self.start = validation.non_negative_number(f"{own}.start", start)
        self.end = validation.non_negative_number(f"{own}.end", end)
        self.follows_run = num_steps is None
        self.num_steps: int | None = None
        if num_steps is not None:
            self.num_steps = validation.positive_count(f"{own}.num_steps", num_steps)

    def __call__(self, step: int | tf.Tensor) -> tf.Tensor:
        """Returns the value at `step`, a scalar tensor of Keras' default float."""
        if self.num_steps is None:
            raise ConfigurationError(
                f"`{type(self).__name__}.num_steps` is by default that of the run, and there is no run here; "
                "set it"
            )
        fraction = tf.cast(step, keras.config.floatx()) / self.num_steps
        return self.start + (self.end - self.start) * self.progress(fraction)

    def progress(self, fraction: tf.Tensor) -> tf.Tensor:
        """Maps step / `num_steps`, a scalar of at least 0, to 0 … 1; from 1 on it must be 1."""
        raise NotImplementedError

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments, with the number of steps of the run once it is known."""
        return {"start": self.start, "end": self.end, "num_steps": self.num_steps}


def follow_run(owners: Iterable[Any], num_steps: int | None) -> None:
    """Gives the length of a run to the schedules that have none of their own.

    Args:
      owners: layers and optimizers, in whose attributes the schedules are.
      num_steps: the number of steps of the run; None if it is not known yet.
    """
    for owner in owners:
        for value in vars(owner).values():
            if isinstance(value, Schedule) and value.follows_run:
                value.num_steps = num_steps


@registry.schedule
class LinearSchedule(Schedule):
    """A straight line from `start` to `end`, then constant (the warm-up of Bowman et al. 2016).

    Args:
      start: the value at step 0.
      end: the value from step `num_steps` on.
      num_steps: the number of steps in between; None for that of the run.
    """

    def progress(self, fraction: tf.Tensor) -> tf.Tensor:
        return tf.minimum(fraction, 1.0)


@registry.schedule
class CosineSchedule(Schedule):
    """Half a cosine from `start` to `end`, then constant (Loshchilov & Hutter 2017).

    Args:
      start: the value at step 0.
      end: the value from step `num_steps` on.
      num_steps: the number of steps in between; None for that of the run.
    """

    def progress(self, fraction: tf.Tensor) -> tf.Tensor:
        return 0.5 - 0.5 * tf.cos(math.pi * tf.minimum(fraction, 1.0))


@registry.schedule
class SigmoidSchedule(Schedule):
    """An S-shaped curve from `start` to `end` (Bowman et al. 2016), exact at both ends.

    Args:
      start: the value at step 0.
      end: the value from step `num_steps` on.
      num_steps: the number of steps in between; None for that of the run.
      steepness: the slope of the sigmoid, above 0; a large one jumps in the middle.
    """

    def __init__(
        self, start: float = 0.0, end: float = 1.0, num_steps: int | None = None, steepness: float = 12.0
    ):
        super().__init__(start, end, num_steps)
        self.steepness = validation.positive_number("SigmoidSchedule.steepness", steepness)

    def progress(self, fraction: tf.Tensor) -> tf.Tensor:
        lowest = 1.0 / (1.0 + math.exp(0.5 * self.steepness))
        raw = tf.sigmoid(self.steepness * (tf.minimum(fraction, 1.0) - 0.5))
        return (raw - lowest) / (1.0 - 2.0 * lowest)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"steepness": self.steepness}


@registry.schedule
class ExponentialSchedule(Schedule):
    """The same factor in each step, start · (end / start)^(step / num_steps), then constant.

    The temperature of Jang et al. 2017 (arXiv:1611.01144, section 4), max(0.5, exp(−r · step)), is
    `start` 1, `end` 0.5 and `num_steps` log(2) / r.

    Args:
      start: the value at step 0, above 0.
      end: the value from step `num_steps` on, above 0.
      num_steps: the number of steps in between; None for that of the run.
    """

    def __init__(self, start: float = 1.0, end: float = 0.5, num_steps: int | None = None):
        super().__init__(start, end, num_steps)
        validation.positive_number("ExponentialSchedule.start", start)
        validation.positive_number("ExponentialSchedule.end", end)

    def progress(self, fraction: tf.Tensor) -> tf.Tensor:
        log_ratio = math.log(self.end) - math.log(self.start)
        if log_ratio == 0.0:
            return tf.minimum(fraction, 1.0)
        return tf.math.expm1(log_ratio * tf.minimum(fraction, 1.0)) / math.expm1(log_ratio)


@registry.schedule
class CyclicalSchedule(Schedule):
    """Repeated linear ramps from `start` to `end` (Fu et al. 2019, arXiv:1903.10145, Eq. 6).

    Args:
      start: the value at the start of each cycle.
      end: the value at the end of each ramp.
      num_steps: the number of steps of all cycles together, from which on the value is
        `end`; None for that of the run.
      num_cycles: the number of cycles.
      ramp_fraction: the part of a cycle that rises, above 0 and at most 1; the rest stays at
        `end`.
    """

    def __init__(
        self,
        start: float = 0.0,
        end: float = 1.0,
        num_steps: int | None = None,
        num_cycles: int = 4,
        ramp_fraction: float = 0.5,
    ):
        super().__init__(start, end, num_steps)
        self.num_cycles = validation.positive_count("CyclicalSchedule.num_cycles", num_cycles)
        self.ramp_fraction = validation.positive_number("CyclicalSchedule.ramp_fraction", ramp_fraction)
        if self.ramp_fraction > 1:
            raise ValueError(
                "`CyclicalSchedule.ramp_fraction` must be a number above 0 and at most 1, "
                f"got {ramp_fraction!r}"
            )

    def progress(self, fraction: tf.Tensor) -> tf.Tensor:
        within_cycle = tf.math.floormod(fraction * self.num_cycles, 1.0)
        ramp = tf.minimum(within_cycle / self.ramp_fraction, 1.0)
        return tf.where(fraction >= 1.0, tf.ones_like(ramp), ramp)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"num_cycles": self.num_cycles, "ramp_fraction": self.ramp_fraction}


for _schedule in (
    keras.optimizers.schedules.CosineDecay,
    keras.optimizers.schedules.ExponentialDecay,
    keras.optimizers.schedules.PiecewiseConstantDecay,
    keras.optimizers.schedules.PolynomialDecay,
):
    registry.schedule(_schedule)
