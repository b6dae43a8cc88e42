"""Ends a run that gets no better."""

from vaeflow import registry, validation
from vaeflow.callbacks.base import RunContext
from vaeflow.callbacks.monitored import Monitoring


@registry.callback
class EarlyStopping(Monitoring):
    """Ends the run when a metric has not improved for some measurements, as in Keras.

    The run ends as after its last step, with exit code 0; `result.json` says why in `ended_by`, and the
    same command then finds it finished. With another configuration (`--allow_config_change`), such as more
    patience, it goes on. Its count survives a resume. List it before `Checkpoints`.

    Args:
      monitor: the metric, a name in `metrics.jsonl`. The default is `Model.selection_score` on the
        validation images, by which the best checkpoint is chosen.
      min_delta: a change of less than this is no improvement.
      patience: the run ends after this many measurements in a row without an improvement.
      mode: `"min"` if lower is better, as for `Checkpoints.best_metric`; `"max"` if higher is.
      restore_best_weights: whether the run ends with the weights of its best measurement. The checkpoint of
        that step is then kept, and at the end, an early one or not, `result.json` holds the metrics as they
        were at that step, the digest of its weights and the step as `restored_step`. The checkpoint
        of the last step stays as it is, so a longer run can go on from it.
    """

    def __init__(
        self,
        monitor: str = "validation/selection_score",
        min_delta: float = 0.0,
        patience: int = 10,
        mode: str = "min",
        restore_best_weights: bool = False,
    ) -> None:
        super().__init__(monitor, min_delta, patience, mode)
        self.restore_best_weights = validation.boolean(
            "EarlyStopping.restore_best_weights", restore_best_weights
        )

    def on_train_begin(self, run: RunContext) -> None:
        super().on_train_begin(run)
        if self.restore_best_weights and "best_step" in self.state:
            run.checkpoints.held[self._owner] = self.state["best_step"]
        self._finish_if_due(run)  # A run that was killed after it had ended.

    def on_value(self, run: RunContext, value: float) -> None:
        if self.is_better(value):
            self.state["best_step"] = run.step
            if self.restore_best_weights:
                run.keep_checkpoint(self._owner)
        else:
            self.state["wait"] += 1
            self._finish_if_due(run)

    def on_train_end(self, run: RunContext) -> None:
        super().on_train_end(run)
        best_step = self.state.get("best_step", run.step)
        if self.restore_best_weights and run.is_finished and best_step != run.step:
            run.restored_step = best_step

    @property
    def _owner(self) -> str:
        return f"EarlyStopping on {self.monitor}"

    def _finish_if_due(self, run: RunContext) -> None:
        if self.state["wait"] < self.patience:
            return
        best = "none was finite"
        if self.state["best"] is not None:
            best = f"the best was {self.state['best']:.6g} at step {self.state['best_step']:,}"
        run.finish(
            f"EarlyStopping: {self.monitor} has not improved in {self.state['wait']} measurements, {best}"
        )
