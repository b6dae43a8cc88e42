"""Measures a trainer: the time of its steps and where it goes, its memory, its arithmetic."""

import pathlib
import time

import tensorflow as tf

from vaeflow.devices import cores
from vaeflow.profiling import flops
from vaeflow.runs import watchdog

_WINDOWS = 3
_MOST_MATRIX_SECONDS = 1.0
_TRACED_STEPS = 10


def measure(trainer, seconds):
    """Trains for a while and measures it.

    Args:
      trainer: a new `Trainer`.
      seconds: how long it is measured, roughly, after the first step and a third of that
        time to warm up. A loop is cut short where it would take longer.

    Returns:
      A dict: `first_step_seconds`, with tracing and compilation; `windows`, a list of
      dicts of what was done and what time it took: `started_at` (seconds since 1970),
      `steps`, `seconds`, and of these `input_seconds` (waiting for data) and
      `compute_seconds` (the rest of TensorFlow's calls); what remains is Python between
      the calls.
    """
    share = seconds / _WINDOWS
    started = time.perf_counter()
    trainer.train_and_report(1)
    first_step_seconds = time.perf_counter() - started
    second = _window(trainer, 1, 0.0)

    def steps_within(limit):
        return min(trainer.settings.steps_per_loop, max(1, int(limit / second["seconds"])))

    _window(trainer, steps_within(share), share)
    windows = []
    while sum(window["seconds"] for window in windows) < seconds:
        windows.append(_window(trainer, steps_within(seconds), share))
    return {"first_step_seconds": first_step_seconds, "windows": windows}


def peak_memory():
    """Returns the peak memory of this process and of its fullest GPU, in bytes; None where there is none."""
    gpus = tf.config.list_logical_devices("GPU")
    peaks = [tf.config.experimental.get_memory_info(f"GPU:{index}")["peak"] for index in range(len(gpus))]
    return {"peak_memory_bytes": _peak_resident_bytes(), "peak_gpu_memory_bytes": max(peaks, default=None)}


def arithmetic(trainer, seconds):
    """Counts the operations of a step, and measures how many a device of the run can do in a second.

    Args:
      trainer: a `Trainer`.
      seconds: how long that may take, if it is not too long.

    Returns:
      A dict: `step_flops`, or None and `not_counted`, why; and
      `matrix_product_flops_per_second`, of all GPUs of the run, or of the CPU.
    """
    try:
        counted = {"step_flops": flops.training_step_flops(trainer)}
    except ValueError as error:
        counted = {"step_flops": None, "not_counted": str(error)}
    rate = flops.matrix_product_rate(min(seconds, _MOST_MATRIX_SECONDS), cores.operations_at_a_time())
    rate *= num_physical_devices(trainer.strategy)
    return counted | {"matrix_product_flops_per_second": rate}


def num_physical_devices(strategy):
    """Counts the GPUs of a strategy, or the CPU, however many virtual devices they are split into."""
    if not tf.config.list_logical_devices("GPU"):
        return 1
    return min(strategy.num_replicas_in_sync, len(tf.config.get_visible_devices("GPU")))


def write_trace(trainer, folder):
    """Trains a few steps more, and writes what happened in them for TensorBoard's profiler."""
    pathlib.Path(folder).mkdir(parents=True, exist_ok=True)
    with tf.profiler.experimental.Profile(str(folder)):
        trainer.train_and_report(min(_TRACED_STEPS, trainer.settings.steps_per_loop))


def _window(trainer, num_steps, at_least_seconds):
    """Trains in loops of `num_steps` for some time, at least one."""
    started_at, started, called_before = time.time(), time.perf_counter(), trainer.call_seconds
    steps, waited, elapsed = 0, 0.0, 0.0
    while not steps or elapsed < at_least_seconds:
        watchdog.progress(f"the measurement of {num_steps} steps")
        waited += trainer.train_and_report(num_steps)["input_seconds"]
        steps += num_steps
        elapsed = time.perf_counter() - started
    called = trainer.call_seconds - called_before
    return {
        "started_at": started_at,
        "steps": steps,
        "seconds": elapsed,
        "input_seconds": min(waited, called),
        "compute_seconds": max(0.0, called - waited),
    }


def _peak_resident_bytes():
    # Not `getrusage`, which counts what the parent held when it forked.
    for line in pathlib.Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return None
