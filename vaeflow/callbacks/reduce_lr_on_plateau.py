"""Lowers the learning rate when a metric gets no better."""

from vaeflow import registry, validation
from vaeflow.callbacks.base import RunContext
from vaeflow.callbacks.monitored import Monitoring
from vaeflow.errors import ConfigurationError


@registry.callback
class ReduceLROnPlateau(Monitoring):
    """Lowers the learning rate of every optimizer when a metric has not improved for some measurements.

    Names and settings are those of Keras' callback. The learning rates must be numbers: a schedule
    decides on its own. How often they were lowered survives a resume, and a rate that
    the configuration changes is lowered as often. List it before `Checkpoints`.

    Args:
      monitor: the metric, a name in `metrics.jsonl`. The default is `Model.selection_score` on the
        validation images.
      factor: by which each learning rate is multiplied, above 0 and below 1.
      patience: the rates are lowered after this many measurements in a row without an improvement.
      mode: `"min"` if lower is better, `"max"` if higher is.
      min_delta: a change of less than this is no improvement.
      cooldown: how many measurements do not count after the rates were lowered.
      min_lr: no rate is lowered below this.
    """

    def __init__(
        self,
        monitor: str = "validation/selection_score",
        factor: float = 0.1,
        patience: int = 10,
        mode: str = "min",
        min_delta: float = 1e-4,
        cooldown: int = 0,
        min_lr: float = 0.0,
    ) -> None:
        super().__init__(monitor, min_delta, patience, mode)
        self.factor = validation.share("ReduceLROnPlateau.factor", factor)
        if self.factor == 1:
            raise ValueError("`ReduceLROnPlateau.factor` must be below 1, which lowers nothing")
        self.cooldown = validation.non_negative_integer("ReduceLROnPlateau.cooldown", cooldown)
        self.min_lr = validation.non_negative_number("ReduceLROnPlateau.min_lr", min_lr)

    def on_train_begin(self, run: RunContext) -> None:
        super().on_train_begin(run)
        if scheduled := run.trainer.rates.scheduled():
            raise ConfigurationError(
                f"`ReduceLROnPlateau` lowers learning rates that are numbers, and {', '.join(scheduled)} "
                "follows a schedule; set a number, or leave the callback out"
            )
        if "reductions" not in self.state:
            self.state.update(reductions=0, cooldown=0)
        for _ in range(self.state["reductions"]):
            self._reduce(run)

    def on_value(self, run: RunContext, value: float) -> None:
        state = self.state
        if state["cooldown"]:
            state.update(cooldown=state["cooldown"] - 1, wait=0)
        if self.is_better(value) or state["cooldown"]:
            return
        state["wait"] += 1
        if state["wait"] >= self.patience and self._reduce(run):
            state.update(wait=0, cooldown=self.cooldown, reductions=state["reductions"] + 1)

    def _reduce(self, run: RunContext) -> bool:
        """Lowers the rates that are above the least; returns whether there was one."""
        # A rate of float32 may be a little above the least that it was lowered to.
        least = self.min_lr * (1 + 1e-6)
        rates = run.trainer.rates.current()
        lowered = {name: max(rate * self.factor, self.min_lr) for name, rate in rates.items() if rate > least}
        run.trainer.rates.set(lowered)
        return bool(lowered)
