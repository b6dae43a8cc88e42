"""Calls of the compiled loop, of which the next can begin before anyone has looked at the last.

A thread makes them, one after the other. The caller's own would not do. On a CPU a call lasts until all is
computed. On a GPU it lasts until all is enqueued, with streamed data or XLA's loop until it is computed,
and a copy to the host waits for all that was enqueued before. So whoever begins a call, and then reads
the result of the one before, waits for both; then the GPU waits for what the host does with it. The
thread reads a result as soon as it is there and begins the next call at once. What the caller does with
the result costs the devices no time.
"""

import collections
import concurrent.futures
import time
from collections.abc import Callable, Mapping
from typing import NamedTuple

import tensorflow as tf

from vaeflow.errors import user_code
from vaeflow.training.step_loop import CallResult, StepLoop


def gain_by_beginning_ahead() -> bool:
    """Whether there are GPUs, which would wait for the host.

    On a CPU the training has its cores, and whatever the host does meanwhile takes them from it.
    """
    return bool(tf.config.list_logical_devices("GPU"))


class Call(NamedTuple):
    """A call that was made.

    Attributes:
      result: its `CallResult`.
      seconds: how long it took, with the reading of its results.
      learning_rates: the learning rates after it, name -> rate, if another may have begun since; else None.
    """

    result: CallResult
    seconds: float
    learning_rates: dict[str, float] | None = None


class Calls:
    """Makes the calls of a `StepLoop`: in the caller's thread, or ahead in one of its own.

    A call with a step that is not finite is the last: the one begun after it trains nothing, and its result
    is the same.

    Args:
      make_loop: makes the `StepLoop` whose first call begins with a step.
      learning_rates: returns the current learning rates.
    """

    def __init__(self, make_loop: Callable[[int], StepLoop], learning_rates: Callable[[], dict[str, float]]):
        self._loop: StepLoop | None = None
        self._make_loop = make_loop
        self._learning_rates = learning_rates
        self._begun: collections.deque[tuple[int, concurrent.futures.Future[Call]]] = collections.deque()
        self._thread = concurrent.futures.ThreadPoolExecutor(1, "training")

    @property
    def has_called(self) -> bool:
        """Whether a call was made: the first must not be made ahead, since it traces the loop."""
        return self._loop is not None

    @property
    def steps_ahead(self) -> int:
        """How many steps the call has that has begun ahead; 0 if there is none."""
        return self._begun[0][0] if self._begun else 0

    def make(self, step: int, num_steps: int, sums: Mapping[str, float], next_steps: int = 0) -> Call:
        """Makes a call, or waits for it if it has begun ahead.

        Args:
          step: the first step.
          num_steps: how many; those of the call that has begun ahead, if there is one.
          sums: as for `StepLoop.run`; those of a call that has begun ahead are 0.
          next_steps: how many steps the call after it has, which begins before this returns and whose sums
            are 0; 0 for none.

        Raises:
          ValueError: `num_steps` is not that of the call that has begun ahead.
          Exception: what `StepLoop.run` raises.
        """
        if self._begun and self.steps_ahead != num_steps:
            raise ValueError(f"`num_steps` must be {self.steps_ahead}, of the call ahead; got {num_steps}")
        if not self._begun and not next_steps:
            return self._made_at_once(step, num_steps, sums)
        if not self._begun:
            self._begin(step, num_steps, sums)
        if next_steps:
            self._begin(step + num_steps, next_steps, dict.fromkeys(sums, 0.0))
        call = self._begun[0][1].result()
        self._begun.popleft()
        return call

    def settle(self) -> int:
        """Waits for the calls that have begun, after an error; returns how many steps they have trained."""
        trained = 0
        while self._begun:
            num_steps, future = self._begun.popleft()
            concurrent.futures.wait([future])
            if future.exception() is None and future.result().result.first_bad_step is None:
                trained += num_steps
        return trained

    def _made_at_once(self, step, num_steps, sums):
        started = time.monotonic()
        self._loop = self._loop or self._make_loop(step)
        result = _result(self._loop.prepare(step, num_steps, sums))
        return Call(result, time.monotonic() - started)

    def _begin(self, step, num_steps, sums):
        if self._loop is None:
            raise ValueError("the first call must not begin ahead")
        before = self._begun[-1][1] if self._begun else None
        # Here, while the call before is still under way.
        run = self._loop.prepare(step, num_steps, sums)
        self._begun.append((num_steps, self._thread.submit(self._made_after, before, run)))

    def _made_after(self, before, run):
        last = None if before is None else before.result()
        if last is not None and last.result.first_bad_step is not None:
            return last
        started = time.monotonic()
        result = _result(run)
        rates = self._learning_rates()  # Before the next call, which moves those of schedules.
        return Call(result, time.monotonic() - started, rates)


def _result(run):
    with user_code.running(None):
        return run()
