"""The compiled loop: many steps inside one call, on every replica."""

import contextlib
import functools
import time
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from vaeflow.datasets import pipeline, stored_batches
from vaeflow.datasets.order import ExampleOrder
from vaeflow.devices import replicas, tracing
from vaeflow.training.moving_average import MovingAverage
from vaeflow.training.replica_step import ReplicaStep


class CallResult(NamedTuple):
    """The outcome of some steps inside one call.

    Attributes:
      sums: each metric's new sum, name -> float.
      seconds: the time inside TensorFlow's call, until its results were there.
      input_seconds: how much of it passed between the end of a step and the arrival of the next batch.
      first_bad_step: the first step whose loss or gradient was not finite, or None.
    """

    sums: dict[str, float]
    seconds: float
    input_seconds: float
    first_bad_step: int | None


class StepLoop:
    """Trains many steps inside one call, compiled once for any number of them.

    Args:
      replica_step: a `ReplicaStep`, whose split is trained on.
      metric_names: the names of what its steps measure.
      average: the `MovingAverage` of the weights.
      order: the `ExampleOrder` of the split.
      strategy: a `tf.distribute` strategy.
      compile_mode: `"none"`, `"step"` or `"loop"`; see `compile_modes`.
      resident: whether the split is held on the devices.
      first_step: the step with which the first call begins; each goes on where the one
        before ended.
    """

    def __init__(
        self,
        replica_step: ReplicaStep,
        metric_names: Sequence[str],
        average: MovingAverage,
        order: ExampleOrder,
        strategy: tf.distribute.Strategy,
        compile_mode: str,
        resident: bool,
        first_step: int,
    ):
        self._replica_step = replica_step
        self._names = list(metric_names)
        self._average = average
        self._order = order
        self._strategy = strategy
        self._resident = resident
        self._max_steps = replica_step.settings.steps_per_loop
        split, reads = replica_step.split, replica_step.model.reads
        order.prepare(first_step)
        if resident:
            self._source = stored_batches.place_on_devices(split, strategy, reads)
        else:
            self._source = pipeline.training_batches(split, order, strategy, first_step, reads)
        self._loop = self._compiled(compile_mode)
        self._traced: Callable | None = None

    def run(self, step: int, num_steps: int, sums: Mapping[str, float]) -> CallResult:
        """Trains.

        Args:
          step: the first step.
          num_steps: how many, at most `TrainingSettings.steps_per_loop`.
          sums: the sums so far, name -> float, to which each step's metrics are added.

        Raises:
          DataError: an example cannot be read.
          ValueError: `num_steps` is too large.
        """
        return self.prepare(step, num_steps, sums)()

    def prepare(self, step: int, num_steps: int, sums: Mapping[str, float]) -> Callable[[], CallResult]:
        """Does what the host has to do before a call; returns a function that makes the call, as `run` does.

        It may be called while the call before is made.
        """
        if num_steps > self._max_steps:
            # The indices end there; a compiled loop would repeat the last batch.
            raise ValueError(f"`num_steps` must be at most {self._max_steps}, got {num_steps}")
        # On the host: a copy to a GPU would wait until it has done what was asked of it before.
        with tf.device("CPU:0"):
            source = (self._source, self._indices(step, num_steps)) if self._resident else self._source
            start = tf.constant([sums[name] for name in self._names], self._replica_step.model.variable_dtype)
            arguments = source, tf.constant(step, tf.int64), tf.constant(num_steps), start
        return functools.partial(self._call, *arguments)

    def _call(self, *arguments):
        started = time.perf_counter()
        with pipeline.readable_errors():
            if self._traced is None:  # Each call has the same shapes.
                self._traced = tracing.traced(self._loop, *arguments)
            # A single tensor, so that the host waits for the device once.
            found = self._traced(*arguments).numpy()
        seconds = time.perf_counter() - started
        *totals, waited, first_bad = found.tolist()
        sums = dict(zip(self._names, totals, strict=True))
        return CallResult(sums, seconds, waited, int(first_bad) if first_bad >= 0 else None)

    def _indices(self, step, num_steps):
        """The examples of each batch, `[max_steps, B]`: of one shape, so that XLA compiles once."""
        indices = np.zeros((self._max_steps, self._order.batch_size), np.int32)
        for offset in range(num_steps):
            indices[offset] = self._order.batch(step + offset)
        return tf.constant(indices)

    def _compiled(self, compile_mode):
        one_step = self._one_resident_step if self._resident else self._one_streamed_step
        # On several replicas `ReplicaStep` has compiled what each computes by itself.
        if compile_mode == "step" and self._strategy.num_replicas_in_sync == 1:
            one_step = tf.function(one_step, jit_compile=True, autograph=False)

        @tf.function(jit_compile=compile_mode == "loop", autograph=False)
        def loop(source, first_step, num_steps, sums):
            def body(offset, sums, waited, ended, first_bad):
                # On the host, which also decides by it whether groups of variables are due.
                with tf.device("CPU:0") if compile_mode != "loop" else contextlib.nullcontext():
                    step = first_step + tf.cast(offset, tf.int64)
                batch, arrived = self._next_batch(source, offset)
                metrics, finite = one_step(batch, step, arrived)
                sums += metrics
                first_bad = tf.where(finite | (first_bad >= 0), first_bad, step)
                # TensorFlow asks for a batch while it computes the step before; that time is not lost.
                waited += tf.maximum(arrived - ended, tf.constant(0.0, tf.float64))
                return offset + 1, sums, waited, self._time_after([sums]), first_bad

            # An integer of 32 bits stays with the host, which counts with it and takes batches by it; one of
            # 64 bits would be fetched from a GPU at each step.
            zero, none = tf.constant(0), tf.constant(-1, tf.int64)
            start = (zero, sums, tf.constant(0.0, tf.float64), self._time_after([]), none)
            result = tf.while_loop(lambda offset, *_: offset < num_steps, body, start)
            _, sums, waited, _, first_bad = result
            # All are exact in 64 bits.
            return tf.concat([tf.cast(sums, tf.float64), [waited, tf.cast(first_bad, tf.float64)]], axis=0)

        return loop

    def _next_batch(self, source, offset):
        """Returns the next batch, and the time of its arrival."""
        if self._resident:
            arrays, indices = source
            return (arrays, indices[offset]), tf.constant(0.0, tf.float64)
        batch = next(source)
        with tf.control_dependencies(tf.nest.flatten(batch, expand_composites=True)):
            return batch, tf.timestamp()

    def _time_after(self, sums):
        """Returns the time at which tensors are computed, in seconds; always 0 if no batch is waited for."""
        if self._resident:  # XLA, which may compile the loop, knows no time.
            return tf.constant(0.0, tf.float64)
        # An accelerator is busy after its operations were started; a copy waits for their results.
        with tf.device("CPU:0"), tf.control_dependencies([tf.identity(value) for value in sums]):
            return tf.timestamp()

    def _one_streamed_step(self, batch, step, arrived):
        def compute(batch, step, arrived):
            # The time is taken before the step begins: with all cores busy, it would be taken much later.
            with tf.control_dependencies([arrived]):
                batch = stored_batches.StoredBatch(tf.nest.map_structure(tf.identity, batch))
            return self._replica_step.compute(batch, step)

        return self._carry_out(self._strategy.run(compute, (batch, step, arrived)), step)

    def _one_resident_step(self, source, step, arrived):  # noqa: ARG002 TensorFlow warns of an argument `_`.
        def compute(arrays, indices, step):
            batch = stored_batches.ResidentBatch(arrays, replicas.own_part(indices))
            return self._replica_step.compute(batch, step)

        return self._carry_out(self._strategy.run(compute, (*source, step)), step)

    def _carry_out(self, result, step):
        """Changes the weights, on all replicas or on none.

        Returns:
          The metrics, one tensor in the order of their names, and whether all was finite.
        """
        metrics, finite = replicas.first_replica(self._strategy, (result.metrics, result.finite))
        done = self._replica_step.apply(self._strategy, result, step, self._average)
        # The metrics come when the step is over, for the time of its end.
        with tf.control_dependencies([done]):
            return tf.stack([metrics[name] for name in self._names]), finite
