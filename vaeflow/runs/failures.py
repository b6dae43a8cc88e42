"""Turns TensorFlow's long errors into one line when the environment caused them."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Generator

import tensorflow as tf

from vaeflow.errors import DataError, EnvironmentFailure, user_code
from vaeflow.runs.watchdog import Watchdog

# An exception that a function of the input pipeline raised, as TensorFlow passes it on.
_RAISED_BY_INPUT = re.compile(
    r"(?<![\w:])(\w+): (?!Iterator::)([^\n]*)\n(?:.*\n)*?Traceback \(most recent call last\)"
)
_OUT_OF_MEMORY = re.compile(r"(?:OOM|Out of memory)[^\n]*", re.IGNORECASE)


@contextlib.contextmanager
def readable_errors(
    watchdog: Watchdog | None, source: str, can_resume: Callable[[], bool] = lambda: False
) -> Generator[None]:
    """Turns TensorFlow's errors inside into an `EnvironmentFailure` when the environment caused them.

    `datasets.pipeline.readable_errors` does the same for reading alone, where no worker can be lost.

    Args:
      watchdog: knows whether a worker was lost; None if there is no run to resume.
      source: the name of the dataset.
      can_resume: returns whether the run has a checkpoint.

    Raises:
      EnvironmentFailure: memory ran out.
      WorkerLost: a worker was lost.
      DataError: the source raised an exception, or ended.
    """
    try:
        yield
    except (MemoryError, tf.errors.ResourceExhaustedError) as error:
        kept = "; the last checkpoint is kept" if can_resume() else ""
        raise EnvironmentFailure(
            f"out of memory: {_lacking(error)}; lower `train.batch_size`, raise "
            f"`train.gradient_accumulation_steps`, or set `train.precision` to 'mixed_bfloat16'{kept}"
        ) from error
    except tf.errors.OpError as error:
        if raised := _RAISED_BY_INPUT.search(error.message):
            where = user_code.shown(user_code.own_frames(error))
            raise DataError(f"{source} cannot give an example: {raised[1]}: {raised[2]}{where}") from error
        if isinstance(error, tf.errors.OutOfRangeError):
            raise DataError(f"{source} ended before the training did") from error
        if watchdog and (lost := watchdog.explain_failure()):
            raise lost from error
        raise


@contextlib.contextmanager
def weights_checked() -> Generator[None]:
    """Says that a model is too large where memory runs out while its weights are made.

    Raises:
      EnvironmentFailure: memory ran out.
    """
    try:
        yield
    except (MemoryError, tf.errors.ResourceExhaustedError) as error:
        raise EnvironmentFailure(
            f"out of memory while the model is made: {_lacking(error)}; make it smaller: fewer latents, "
            "units or filters, or smaller images"
        ) from error


def _lacking(error: MemoryError | tf.errors.OpError) -> str:
    """Cuts an error down to what could not be allocated."""
    if isinstance(error, MemoryError):
        return str(error)
    found = _OUT_OF_MEMORY.search(error.message)
    return found[0].partition(" on /job:")[0] if found else _first_line(error)


def _first_line(error: tf.errors.OpError) -> str:
    return error.message.partition("}} ")[2].partition("\n")[0] or error.message.partition("\n")[0]
