"""The process that repeats intervals on several replicas, for which it splits the devices.

`python -m vaeflow.commands.verification.process <request> <answer>`
"""

import dataclasses
import pathlib
from typing import Any

import tensorflow as tf

from vaeflow import config
from vaeflow.commands import assembly
from vaeflow.commands.verification import repeating
from vaeflow.devices import cores, strategies
from vaeflow.runs import asking, failures
from vaeflow.runs.watchdog import Watchdog
from vaeflow.training import making


def repeat(request: dict[str, Any]) -> list[dict[str, Any]]:
    """Repeats the intervals that a request names; returns each `Repeated` as a dict."""
    config.load("verify", [request["configuration"]], plugins=request["plugins"])
    way = repeating.Way(**request["way"])
    gpus = tf.config.list_physical_devices("GPU")
    if len(gpus) < way.replicas:
        strategies.split_devices(way.replicas)
    values = repeating.run_values()
    plan, training = making.checked(values)
    cores.divide(training.batch_size, training.compile_mode)
    source = type(values["dataset"]).__name__
    with Watchdog(limit_seconds=plan.longest_stall, resumes=False) as watchdog:
        watchdog.progress(f"reading {source}")
        with failures.readable_errors(None, source):
            data = assembly.read_data(values["dataset"])
            intervals = [repeating.Interval(**each) for each in request["intervals"]]
            scratch = pathlib.Path(request["scratch"])
            found = repeating.repeat(way, intervals, values, data, scratch, watchdog)
    return [dataclasses.asdict(each) for each in found]


if __name__ == "__main__":
    asking.answer(repeat, config.explain)
