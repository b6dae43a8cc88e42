"""What a fresh process measures besides training: input alone, the order of examples, checkpoints."""

import pathlib
import statistics
import tempfile
import time
import tracemalloc

import numpy as np
import tensorflow as tf

from vaeflow import config
from vaeflow.datasets import pipeline
from vaeflow.datasets.order import ExampleOrder
from vaeflow.profiling import measuring
from vaeflow.profiling.process import make_trainer
from vaeflow.runs import asking, watchdog
from vaeflow.runs.checkpoints import CheckpointStore

_BATCH = 256
_STEPS_AT_ONCE = 50
_LAST_BATCHES = 100
_TIMES = 3


def measure(request):
    """Measures one point; `request` has its `kind` and what the function of that name needs."""
    return _KINDS[request["kind"]](request)


def measure_input(request):
    """Reads batches of a configuration without training on them.

    Args:
      request: `configuration`, the path of a gin file, and `seconds`, how long to read.

    Returns:
      A dict: `images_per_second`, `peak_memory_bytes`.
    """
    config.load("train", [request["configuration"]])
    values = config.values_of("train")
    split = pipeline.read_split(values["dataset"], "train", augmented=True)
    order = ExampleOrder(split.num_examples, values["batch_size"], 0)
    batches = pipeline.training_batches(split, order, tf.distribute.get_strategy(), 0)

    @tf.function(autograph=False)
    def read(source):
        def body(number):
            with tf.control_dependencies(tf.nest.flatten(next(source))):
                return (number + 1,)

        return tf.while_loop(lambda number: number < _STEPS_AT_ONCE, body, (tf.constant(0),))

    read(batches)  # The first batches come slowly, and what is in the queue then.
    steps, started, elapsed = 0, time.perf_counter(), 0.0
    while elapsed < request["seconds"]:
        watchdog.progress("the reading of batches")
        read(batches)
        steps += _STEPS_AT_ONCE
        elapsed = time.perf_counter() - started
    return {"images_per_second": steps * values["batch_size"] / elapsed} | measuring.peak_memory()


def measure_order(request):
    """Finds the order of epochs of examples, which need not exist.

    Args:
      request: `examples`, their number, and `images_per_second`, the rate of a training to imitate.

    Returns:
      A dict: `permutation_seconds`, of an epoch, found while the caller waits; `wait_seconds`, the
      longest time that a batch took in the second half of an epoch and at the start of the next;
      `peak_order_bytes`, of all arrays of the order.
    """
    number = request["examples"]
    found = []
    for seed in range(_TIMES):
        watchdog.progress("the order of an epoch")
        found.append(_seconds_of(lambda seed=seed: ExampleOrder(number, _BATCH, seed).batch(0)))
    tracemalloc.start()
    order, num_batches = ExampleOrder(number, _BATCH, 0), number // _BATCH
    order.batch(0)
    waits, middle = [], num_batches // 2
    steps = np.linspace(middle, num_batches + 1, min(_LAST_BATCHES, num_batches + 2 - middle), dtype=int)
    for step in steps.tolist():
        watchdog.progress(f"batch {step} of the order")
        waits.append(_seconds_of(lambda step=step: order.batch(step)))
        time.sleep(number / 2 / request["images_per_second"] / len(steps))
    _, peak = tracemalloc.get_traced_memory()
    return {
        "permutation_seconds": statistics.median(found),
        "wait_seconds": max(waits),
        "peak_order_bytes": peak,
    }


def measure_checkpoint(request):
    """Saves the state of a training twice, and reads it back.

    Args:
      request: `configuration`, the path of a gin file next to which the checkpoints are written.

    Returns:
      A dict: `num_weights`; `first_held_seconds` and `held_seconds`, how long training waits for
      the first save and for the second; `write_seconds`, from the begin of the second until it is on the
      disk; `restore_seconds`; `checkpoint_bytes`; `peak_memory_bytes`.
    """
    config.load("train", [request["configuration"]])
    trainer = make_trainer(config.values_of("train"))
    with tempfile.TemporaryDirectory(dir=pathlib.Path(request["configuration"]).parent) as folder:
        store = CheckpointStore(pathlib.Path(folder) / "checkpoints")
        held, written = [], []
        for step in (1, 2):
            watchdog.progress(f"checkpoint {step}")
            trainer.train_and_report(1)
            started = time.perf_counter()
            store.save(trainer.checkpoint(), step, wait=False)
            held.append(time.perf_counter() - started)
            store.finish_saving()
            written.append(time.perf_counter() - started)
        restored = _seconds_of(lambda: store.restore(trainer.checkpoint()))
        num_bytes = sum(path.stat().st_size for path in store.path(2).rglob("*") if path.is_file())
    return {
        "num_weights": trainer.model.count_params(),
        "first_held_seconds": held[0],
        "held_seconds": held[1],
        "write_seconds": written[1],
        "restore_seconds": restored,
        "checkpoint_bytes": num_bytes,
        **measuring.peak_memory(),
    }


def _seconds_of(work):
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


_KINDS = {"input": measure_input, "order": measure_order, "checkpoint": measure_checkpoint}

if __name__ == "__main__":
    asking.answer(measure, config.explain)
