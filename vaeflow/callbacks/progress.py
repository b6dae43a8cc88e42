"""Shows the run on the terminal."""

import time

from vaeflow import registry, validation
from vaeflow.callbacks.base import Callback, RunContext
from vaeflow.runs.progress_line import ProgressLine

_TRAINING = "train/"
# The weight of each term of the objective is measured too, which tells terms from other metrics.
_WEIGHT = "_weight"


@registry.callback
class Progress(Callback):
    """Shows step, epoch, rate, time left and the terms: a bar in a terminal, plain lines elsewhere.

    Each evaluation has a line that stays, and so has the whole run at its end.

    Args:
      every_seconds: plain lines come no more often than this.
    """

    only_reports = True

    def __init__(self, every_seconds: float = 5.0) -> None:
        super().__init__()
        self.every_seconds = validation.non_negative_number("Progress.every_seconds", every_seconds)

    def on_train_begin(self, run: RunContext) -> None:
        self._line = ProgressLine(self.every_seconds)
        self._first_log: tuple[float, int] | None = None
        width = max(map(len, run.facts), default=0)
        for name, text in run.facts.items():
            self._line.print(f"{name:<{width}}  {text}")

    def on_log(self, run: RunContext, metrics: dict[str, float]) -> None:
        now = time.monotonic()
        if self._first_log is None:
            # The first loop compiles, so its time does not predict that of the next.
            self._first_log = (now, run.step)
        parts = [
            f"step {run.step:,}/{run.num_steps:,}",
            f"epoch {_epochs(run)}",
            f"{metrics['examples_per_second']:,.0f} images/s",
        ]
        began, first_step = self._first_log
        if run.step > first_step:
            seconds = (now - began) / (run.step - first_step) * (run.num_steps - run.step)
            parts.append(f"{_duration(seconds)} left")
        if evaluated := _evaluated(run, metrics):
            self._line.print_parts([f"{run.evaluated} at step {run.step:,}", *evaluated])
        self._line.update(
            [*parts, *_terms(metrics)], run.step / run.num_steps, last=run.step >= run.num_steps
        )

    def on_train_end(self, run: RunContext) -> None:
        self._line.close()
        if not run.metrics:
            return
        seconds, examples = run.metrics["wall_seconds"], run.metrics["examples_seen"]
        end = "finished" if run.is_finished else "stopped"
        parts = [f"{end} at step {run.step:,}", f"epoch {_epochs(run)}", f"{_duration(seconds)} in all"]
        if seconds > 0:
            parts.append(f"{examples / seconds:,.0f} images/s")
        self._line.print_parts([*parts, *_evaluated(run, run.metrics)])
        if run.ended_by is not None:
            self._line.print(run.ended_by)


def _epochs(run: RunContext) -> str:
    trainer = run.trainer
    return f"{run.step * trainer.settings.batch_size / trainer.split.num_examples:,.2f}"


def _terms(metrics: dict[str, float]) -> list[str]:
    """Describes the loss and the terms of the model's objective."""
    names = [name for name in metrics if name.startswith(_TRAINING) and f"{name}{_WEIGHT}" in metrics]
    return _described(metrics, _TRAINING, [f"{_TRAINING}loss", *names])


def _evaluated(run: RunContext, metrics: dict[str, float]) -> list[str]:
    """Describes what an evaluation measured, except each single latent."""
    kind = f"{run.evaluated}/"
    names = [name for name in metrics if name.startswith(kind) and name.count("/") == 1]
    return _described(metrics, kind, names)


def _described(metrics: dict[str, float], kind: str, names: list[str]) -> list[str]:
    return [f"{name.removeprefix(kind)} {_number(metrics[name])}" for name in names if name in metrics]


def _number(value: float) -> str:
    """Writes a number with two decimals, a whole one without, and no negative zero."""
    return f"{round(value, 2) + 0.0:,.2f}".removesuffix(".00")


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(int(seconds + 0.5), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"
