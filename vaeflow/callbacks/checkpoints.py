"""Saves checkpoints."""

import difflib

from absl import logging

from vaeflow import registry, validation
from vaeflow.callbacks.base import Callback, RunContext


@registry.callback
class Checkpoints(Callback):
    """Saves everything the run's future depends on; the newest and the best are kept.

    Args:
      every_steps: how often; also after the last step, and when a signal stops the run.
      keep: how many of the newest are kept.
      best_metric: the metric, lower is better, whose best checkpoint is kept as well. The
        default is `Model.selection_score` on the validation split; without such a split, there
        is no best checkpoint, and commands use the newest.
    """

    def __init__(
        self, every_steps: int = 1000, keep: int = 3, best_metric: str = "validation/selection_score"
    ) -> None:
        super().__init__(every_steps)
        self.keep = validation.positive_integer("Checkpoints.keep", keep)
        self.best_metric = best_metric

    def on_train_begin(self, run: RunContext) -> None:
        run.checkpoints.retain(self.keep, self.best_metric)
        run.checkpoints.remove_unfinished()
        self._warned = False

    def on_log(self, run: RunContext, metrics: dict[str, float]) -> None:
        self._warn_of_a_typo(run.metrics)
        run.checkpoints.save(run.trainer.checkpoint(), run.step, metrics)

    def _warn_of_a_typo(self, known: dict[str, float]) -> None:
        # Not an error: another callback may measure it, less often than this one saves.
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
