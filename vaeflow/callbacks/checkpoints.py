"""Saves checkpoints."""

from vaeflow import registry, validation
from vaeflow.callbacks.base import Callback, RunContext
from vaeflow.callbacks.monitored import warn_of_a_typo


@registry.callback
class Checkpoints(Callback):
    """Saves everything the run's future depends on; the newest and the best are kept.

    The training waits until its state is copied, into memory that is kept: one more state, on the
    host. A thread writes the checkpoint from the copy while the training goes on.

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
        setting = "Checkpoints.best_metric"
        self._warned = self._warned or warn_of_a_typo(setting, self.best_metric, run.metrics)
        run.checkpoints.save(run.trainer.checkpoint(), run.step, metrics, wait=False)
