"""What callbacks share that watch one metric and act when it gets no better."""

import difflib
import math
from collections.abc import Mapping
from typing import Any

import tensorflow as tf
from absl import logging

from vaeflow import validation
from vaeflow.callbacks.base import Callback, RunContext
from vaeflow.datasets.base import VALIDATION
from vaeflow.devices import replicas
from vaeflow.errors import ConfigurationError


class Monitoring(Callback):
    """A callback that watches a metric of the log, and counts how often in a row it was no better.

    It looks at a loop whose metrics hold the metric. All workers take the value of the first.

    Args:
      monitor: the name of the metric, as in `metrics.jsonl`.
      min_delta: a change of less than this is no improvement.
      patience: how many measurements in a row without an improvement are borne.
      mode: `"min"` if lower is better, as `Checkpoints.best_metric` has it; `"max"` if higher is.
    """

    on_every_worker = True

    def __init__(self, monitor: str, min_delta: float, patience: int, mode: str) -> None:
        super().__init__()
        own = type(self).__name__
        if not isinstance(monitor, str) or not monitor:
            raise ValueError(f"`{own}.monitor` must be the name of a metric, got {monitor!r}")
        self.monitor = monitor
        self.min_delta = validation.non_negative_number(f"{own}.min_delta", min_delta)
        self.patience = validation.positive_integer(f"{own}.patience", patience)
        self.mode = validation.one_of(f"{own}.mode", mode, ("min", "max"))

    def on_train_begin(self, run: RunContext) -> None:
        if self.monitor.startswith(f"{VALIDATION}/") and run.evaluated != VALIDATION:
            raise ConfigurationError(
                f"`{type(self).__name__}.monitor` is {self.monitor!r}, and there are no validation images: "
                f"hold some out with `{run.source}.validation_fraction`, or watch another metric, such "
                "as 'train/loss'"
            )
        if not self.state:
            self.state.update(best=None, wait=0)

    def on_log(self, run: RunContext, metrics: dict[str, float]) -> None:
        if self.monitor in metrics:
            value = tf.constant(metrics[self.monitor], tf.float64)
            self.on_value(run, float(replicas.of_first_worker(run.trainer.strategy, value)))

    def on_train_end(self, run: RunContext) -> None:
        if self.state["best"] is None:
            warn_of_a_typo(f"{type(self).__name__}.monitor", self.monitor, run.metrics)

    def on_value(self, run: RunContext, value: float) -> None:
        """Called with each value of the metric."""
        raise NotImplementedError

    def is_better(self, value: float) -> bool:
        """Whether a value improves on the best so far; notes it if so, and that the wait begins anew."""
        best = self.state["best"]
        if not math.isfinite(value):
            return False
        sign = 1 if self.mode == "min" else -1
        if best is None or sign * value + self.min_delta < sign * best:
            self.state.update(best=value, wait=0)
            return True
        return False


def warn_of_a_typo(setting: str, name: str, known: Mapping[str, Any]) -> bool:
    """Warns that nothing has measured the metric that a setting names, if others of its kind were measured.

    Not an error: another callback may measure it less often.

    Returns:
      Whether it has warned.
    """
    if name in known:
        return False
    kind = name.rpartition("/")[0] + "/"
    found = difflib.get_close_matches(name, known, n=1, cutoff=0.8)
    found = found or [each for each in known if each.startswith(kind)][:5]
    if found:
        message = "`%s` is %r, which nothing has measured yet, unlike %s"
        logging.warning(message, setting, name, ", ".join(found))
    return bool(found)
