"""Saves checkpoints."""

import difflib

from absl import logging

from vaeflow import registry, validation
from vaeflow.callbacks.base import Callback


@registry.callback
class Checkpoints(Callback):
    """Saves everything the run's future depends on; the newest and the best are kept.

    Args:
      every_steps: how often; also after the last step, and when the run is stopped
        by a signal.
      keep: how many of the newest are kept.
      best_metric: the metric, lower is better, whose best checkpoint is kept as well.
    """

    def __init__(self, every_steps=1000, keep=3, best_metric="evaluation/negative_elbo"):
        super().__init__(every_steps)
        self.keep = validation.positive_integer("Checkpoints.keep", keep)
        self.best_metric = best_metric

    def on_train_begin(self, run):
        run.checkpoints.keep = self.keep
        run.checkpoints.best_metric = self.best_metric
        run.checkpoints.remove_unfinished()
        self._warned = False

    def on_log(self, run, metrics):
        self._warn_of_a_typo(run.metrics)
        run.checkpoints.save(run.trainer.checkpoint(), run.step, metrics)

    def _warn_of_a_typo(self, known):
        # No error: another callback may measure it, more seldom than this one saves.
        if self._warned or self.best_metric in known:
            return
        kind = self.best_metric.rpartition("/")[0] + "/"
        measured = [name for name in known if name.startswith(kind)]
        near = difflib.get_close_matches(self.best_metric, known, n=1, cutoff=0.8)
        if measured or near:
            self._warned = True
            logging.warning(
                "`Checkpoints.best_metric` is %r, which nothing has measured yet, unlike %s",
                self.best_metric,
                ", ".join(near or measured[:5]),
            )
