"""Splits a loop into calls of a few seconds."""

import math

import tensorflow as tf

from vaeflow.devices import replicas

_PART_SECONDS = 4.0


class Pace:
    """Cuts loops into parts of a few seconds: a signal is answered between two of them.

    A part is one call, which nothing can interrupt. How many steps fit is known from the
    part before; and since the first steps tell little (the first call compiles too,
    batches may have been waiting), no part is longer than all before it together: 1, 1,
    2, 4 … steps. From then on a fast model's loop is one part.

    Args:
      strategy: the strategy of the run.
    """

    def __init__(self, strategy: tf.distribute.Strategy):
        self._strategy = strategy
        self._num_steps = 0
        self._seconds_per_step = 0.0

    def next_part(self, num_steps: int) -> int:
        """Says how many steps come next, the same on every worker; each of them must call it.

        Args:
          num_steps: the number of steps to the end of the loop.

        Returns:
          A number from 1 to `num_steps`.
        """
        longest = min(num_steps, self._num_steps)
        if longest * self._seconds_per_step > _PART_SECONDS:
            longest = int(_PART_SECONDS / self._seconds_per_step)
        # A mean of whole numbers has the same bits on every worker.
        longest = math.ceil(replicas.mean_over_workers(self._strategy, max(longest, 1)))
        # Equal parts: the rate of a short rest would tell little.
        return math.ceil(num_steps / math.ceil(num_steps / longest))

    def next_ahead(self, num_steps: int, under_way: int) -> int:
        """Says how many steps may begin before the part under way is noted.

        A signal then waits for both, so together they take no longer than a part may.

        Args:
          num_steps: the number of steps from the end of that part to the end of the next loop.
          under_way: the number of steps of that part.

        Returns:
          As `next_part`; 0 for none.
        """
        next_steps = self.next_part(num_steps)
        together = (under_way + next_steps) * self._seconds_per_step
        return next_steps if self._num_steps and together <= _PART_SECONDS else 0

    def note(self, num_steps: int, seconds: float) -> None:
        """Takes note of how long a part took."""
        self._num_steps += num_steps
        self._seconds_per_step = seconds / num_steps
