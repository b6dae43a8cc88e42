"""The process that measures one configuration: `python -m vaeflow.profiling.process <request> <answer>`."""

import os
import pathlib
import time

import tensorflow as tf

from vaeflow import config
from vaeflow.datasets import pipeline
from vaeflow.devices import cores, strategies
from vaeflow.errors import ConfigurationError
from vaeflow.profiling import measuring
from vaeflow.runs import asking, failures, watchdog
from vaeflow.training import making
from vaeflow.training.settings import RunSettings, taken_from
from vaeflow.training.trainer import Trainer


def measure(request):
    """Makes the trainer of a configuration as `train` would, with some settings changed, and measures it."""
    config.load("train", [request["configuration"]], plugins=request["plugins"])
    _choose_devices(request["devices"], request["virtual"])
    values = config.values_of("train") | request["settings"]
    watchdog.configure(
        pathlib.Path(request["configuration"]).parent, taken_from(RunSettings, values).longest_stall
    )
    with failures.readable_errors(None, type(values["dataset"]).__name__):
        started = time.perf_counter()
        trainer = make_trainer(values)
        _check_replicas(trainer.strategy.num_replicas_in_sync, request["devices"])
        measured = {"setup_seconds": time.perf_counter() - started}
        measured |= measuring.measure(trainer, request["seconds"])
        measured |= measuring.peak_memory()
        if request["arithmetic"]:
            measured |= measuring.arithmetic(trainer, request["seconds"])
        if request["trace"]:
            measuring.write_trace(trainer, request["trace"])
    return measured | _facts(trainer, values)


def make_trainer(values):
    """Makes a trainer from the settings of `train`, name -> value.

    Raises:
      ConfigurationError: a setting is wrong.
      EnvironmentFailure: the data cannot be read.
    """
    with config.values_checked():
        plan, settings = making.checked(values)
        cores.divide(settings.batch_size, settings.compile_mode)
        factories = (values[name] for name in ("strategy", "model", "optimizer"))
        strategy, model, optimizer = making.make_all(settings.seed, values["precision"], *factories)
    split = pipeline.read_split(values["dataset"], "train", augmented=True)
    making.follow_run(model, optimizer, plan.steps_for(split.num_examples, settings.batch_size))
    with config.values_checked():
        return Trainer(model, optimizer, split, settings, strategy)


def _choose_devices(count, virtual):
    """Gives TensorFlow the first `count` GPUs, or so many virtual devices; all where that is None."""
    gpus = tf.config.list_physical_devices("GPU")
    if count is None:
        return
    if virtual or not gpus:
        strategies.split_devices(count)
    elif count > len(gpus):
        raise ConfigurationError(f"there are {len(gpus)} GPUs")
    else:
        tf.config.set_visible_devices(gpus[:count], "GPU")


def _check_replicas(num_replicas, expected):
    if expected not in (None, num_replicas):
        raise ConfigurationError(f"`train.strategy` makes {num_replicas} replicas of {expected} devices")


def _facts(trainer, values):
    gpus = tf.config.list_logical_devices("GPU")
    details = (
        tf.config.experimental.get_device_details(tf.config.get_visible_devices("GPU")[0]) if gpus else {}
    )
    return {
        "model": type(trainer.model).__name__,
        "num_weights": trainer.model.count_params(),
        "dataset": type(values["dataset"]).__name__,
        "image_shape": list(trainer.split.shape),
        "batch_size": trainer.settings.batch_size,
        "precision": values["precision"],
        "resident": trainer.resident,
        "compile_mode": trainer.compile_mode,
        "steps_per_loop": trainer.settings.steps_per_loop,
        "num_replicas": trainer.strategy.num_replicas_in_sync,
        "device_kind": "GPU" if gpus else "CPU",
        "device_name": details.get("device_name"),
        "num_gpus": len(tf.config.list_physical_devices("GPU")),
        "cpu_cores": len(os.sched_getaffinity(0)),
        "tensorflow": tf.__version__,
    }


if __name__ == "__main__":
    asking.answer(measure, config.explain)
