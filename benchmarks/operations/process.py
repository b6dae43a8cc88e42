"""The process that measures one workload: `python -m benchmarks.operations.process <request> <answer>`."""

import collections
import pathlib
import re
import statistics
import tempfile
import time

import tensorflow as tf
from tensorflow.tsl.profiler.protobuf import xplane_pb2

from benchmarks import workloads
from vaeflow import config
from vaeflow.profiling import measuring
from vaeflow.profiling.process import make_trainer
from vaeflow.runs import asking, watchdog

PRODUCTS = "convolutions, products"
COMPILED = "compiled by XLA"
UPDATE = "sums, norm, update"
OTHERS = "other operations"
_XLA = "CpuExecutable::ExecuteAsyncOnStream"
_TIMES = 5
_LONGEST = 6


def measure(request):
    """Trains a workload on as many cores as the process has, and takes a trace.

    Args:
      request: `workload`, its name; `batch_size`; `seconds`, how long to measure a matrix product.

    Returns:
      A dict: `step_seconds`, without a trace; of a step of the median trace: `seconds`, kind of operation ->
      its own time, `num_operations`, and `longest`, the types of operation that take longest, pairs of a
      name and its seconds; and what `measuring.arithmetic` returns.
    """
    config.load("train", [str(workloads.gin_file(request["workload"]))])
    trainer = make_trainer(config.values_of("train") | {"batch_size": request["batch_size"]})
    num_steps = trainer.settings.steps_per_loop
    trainer.train_and_report(num_steps)
    seconds = []
    for _ in range(_TIMES):
        watchdog.progress("the steps without a trace")
        started = time.perf_counter()
        trainer.train_and_report(num_steps)
        seconds.append((time.perf_counter() - started) / num_steps)
    # The profiler slows the first one down.
    _, *traces = [traced_step(trainer) for _ in range(1 + _TIMES)]
    own, counted = sorted(traces, key=lambda trace: trace[0].total())[_TIMES // 2]
    kinds: collections.Counter[str] = collections.Counter()
    for operation, operation_seconds in own.items():
        kinds[kind_of(operation)] += operation_seconds
    return {
        "step_seconds": statistics.median(seconds),
        "seconds": dict(kinds),
        "num_operations": counted.total(),
        "longest": own.most_common(_LONGEST),
        **measuring.arithmetic(trainer, request["seconds"]),
    }


def traced_step(trainer):
    """Trains one loop under TensorFlow's profiler; returns `own_times` and `numbers` of a step."""
    num_steps = trainer.settings.steps_per_loop
    with tempfile.TemporaryDirectory() as folder:
        options = tf.profiler.experimental.ProfilerOptions(host_tracer_level=2)
        with tf.profiler.experimental.Profile(folder, options):
            trainer.train_and_report(num_steps)
        [path] = pathlib.Path(folder).rglob("*.xplane.pb")
        space = xplane_pb2.XSpace.FromString(path.read_bytes())
    return tuple(
        collections.Counter({operation: each / num_steps for operation, each in counter.items()})
        for counter in (own_times(space), numbers(space))
    )


def kind_of(operation):
    """Returns the kind of a type of operation, such as `"_MklNativeConv2D"`."""
    if operation == _XLA:
        return COMPILED
    if "Conv2D" in operation or "MatMul" in operation:
        return PRODUCTS
    if operation.startswith("ResourceApply") or operation in ("L2Loss", "AddN"):
        return UPDATE
    return OTHERS


def own_times(space):
    """Adds up how long the operations of a trace took, without others that ran inside of them.

    Args:
      space: an `XSpace`, as TensorFlow's profiler writes it.

    Returns:
      A Counter: the type of an operation -> seconds. What XLA compiles counts as one type.
    """
    own: collections.Counter[str] = collections.Counter()
    for operations in _threads(space):
        around: list[tuple[int, str]] = []  # The ends and types of the operations that have begun.
        for operation, start, duration in operations:
            while around and around[-1][0] <= start:
                around.pop()
            if around:
                own[around[-1][1]] -= duration / 1e12
            own[operation] += duration / 1e12
            around.append((start + duration, operation))
    return own


def numbers(space):
    """Counts the operations of a trace; returns a Counter, by type as `own_times` does."""
    return collections.Counter(operation for operations in _threads(space) for operation, _, _ in operations)


def _threads(space):
    """Lists the operations of each thread in the order of their start: type, start and duration in ps."""
    for plane in space.planes:
        types = {key: _operation(value.name) for key, value in plane.event_metadata.items()}
        for line in plane.lines:
            events = sorted(line.events, key=lambda event: (event.offset_ps, -event.duration_ps))
            yield [
                (operation, event.offset_ps, event.duration_ps)
                for event in events
                if (operation := types[event.metadata_id]) is not None
            ]


def _operation(event):
    """Returns the type of an operation, an event called `<name>:<type>`; None for what the runtime does."""
    if event == _XLA:
        return event
    found = re.fullmatch(r"[^:]+:(\w+)", event)
    return found and found[1]


if __name__ == "__main__":
    asking.answer(measure, config.explain)
