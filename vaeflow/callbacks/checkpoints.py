"""Saves checkpoints."""

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

    def on_log(self, run, metrics):
        run.checkpoints.save(run.trainer.checkpoint(), run.step, metrics)
