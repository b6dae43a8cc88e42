"""Schedules: functions of the global step, for learning rates and loss weights alike."""

import math

import keras
import tensorflow as tf

from vaeflow import registry, validation


def value_at(value, step):
    """Evaluates a number or a schedule at a step.

    Args:
      value: a float, or a callable of the step.
      step: an int or scalar tensor.

    Returns:
      The float itself, or a scalar tensor.
    """
    return value(step) if callable(value) else value


class Schedule(keras.optimizers.schedules.LearningRateSchedule):
    """Moves from `start` to `end` over `num_steps` steps and stays there.

    Subclasses give the shape of the way by `progress`.

    Args:
      start: the value at step 0.
      end: the value from step `num_steps` on.
      num_steps: the length of the way, in steps.
    """

    def __init__(self, start=0.0, end=1.0, num_steps=10_000):
        self.start = float(start)
        self.end = float(end)
        self.num_steps = validation.positive_integer(f"{type(self).__name__}.num_steps", num_steps)

    def __call__(self, step):
        """Returns the value at `step`, a float scalar tensor."""
        fraction = tf.cast(step, keras.config.floatx()) / self.num_steps
        return self.start + (self.end - self.start) * self.progress(fraction)

    def progress(self, fraction):
        """Maps the fraction of `num_steps` that has passed (0 up to any number) to 0 … 1."""
        raise NotImplementedError

    def get_config(self):
        """Returns the constructor's arguments."""
        return {"start": self.start, "end": self.end, "num_steps": self.num_steps}


@registry.schedule
class LinearSchedule(Schedule):
    """A straight line from `start` to `end`, then constant (a warm-up, Bowman et al. 2016).

    Args:
      start: the value at step 0.
      end: the value from step `num_steps` on.
      num_steps: the length of the line, in steps.
    """

    def progress(self, fraction):
        return tf.minimum(fraction, 1.0)


@registry.schedule
class CosineSchedule(Schedule):
    """Half a cosine from `start` to `end`, then constant (Loshchilov & Hutter 2017).

    Args:
      start: the value at step 0.
      end: the value from step `num_steps` on.
      num_steps: the length of the way, in steps.
    """

    def progress(self, fraction):
        return 0.5 - 0.5 * tf.cos(math.pi * tf.minimum(fraction, 1.0))


@registry.schedule
class SigmoidSchedule(Schedule):
    """An S-shaped way from `start` to `end` (Bowman et al. 2016), exact at both ends.

    Args:
      start: the value at step 0.
      end: the value from step `num_steps` on.
      num_steps: the length of the way, in steps.
      steepness: the slope of the sigmoid; larger is closer to a jump at the middle.
    """

    def __init__(self, start=0.0, end=1.0, num_steps=10_000, steepness=12.0):
        super().__init__(start, end, num_steps)
        self.steepness = validation.positive_number("SigmoidSchedule.steepness", steepness)

    def progress(self, fraction):
        lowest = 1.0 / (1.0 + math.exp(0.5 * self.steepness))
        raw = tf.sigmoid(self.steepness * (tf.minimum(fraction, 1.0) - 0.5))
        return (raw - lowest) / (1.0 - 2.0 * lowest)

    def get_config(self):
        return super().get_config() | {"steepness": self.steepness}


@registry.schedule
class CyclicalSchedule(Schedule):
    """Repeated linear ramps from `start` to `end` (Fu et al. 2019, arXiv:1903.10145, Eq. 6).

    Args:
      start: the value at the start of a cycle.
      end: the value that the ramp of a cycle reaches.
      num_steps: the length of all cycles together, in steps; constant `end` after.
      num_cycles: the number of cycles.
      ramp_fraction: the part of a cycle that rises; the rest stays at `end`.
    """

    def __init__(self, start=0.0, end=1.0, num_steps=10_000, num_cycles=4, ramp_fraction=0.5):
        super().__init__(start, end, num_steps)
        self.num_cycles = validation.positive_integer("CyclicalSchedule.num_cycles", num_cycles)
        self.ramp_fraction = validation.positive_number("CyclicalSchedule.ramp_fraction", ramp_fraction)
        if self.ramp_fraction > 1:
            raise ValueError(
                "`CyclicalSchedule.ramp_fraction` must be a number above 0 and at most 1, "
                f"got {ramp_fraction!r}"
            )

    def progress(self, fraction):
        within_cycle = tf.math.floormod(fraction * self.num_cycles, 1.0)
        ramp = tf.minimum(within_cycle / self.ramp_fraction, 1.0)
        return tf.where(fraction >= 1.0, tf.ones_like(ramp), ramp)

    def get_config(self):
        return super().get_config() | {"num_cycles": self.num_cycles, "ramp_fraction": self.ramp_fraction}


for _schedule in (
    keras.optimizers.schedules.CosineDecay,
    keras.optimizers.schedules.ExponentialDecay,
    keras.optimizers.schedules.PiecewiseConstantDecay,
    keras.optimizers.schedules.PolynomialDecay,
):
    registry.schedule(_schedule)
