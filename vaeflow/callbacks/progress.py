"""Shows the run on the terminal."""

import time

from vaeflow import registry, validation
from vaeflow.callbacks.base import Callback, RunContext
from vaeflow.runs.progress_line import ProgressLine

# Metric -> label in the progress line.
_SHOWN = {
    "train/loss": "loss",
    "train/reconstruction_loss": "reconstruction",
    "train/kl": "kl",
    "evaluation/negative_elbo": "negative elbo (evaluation)",
}


@registry.callback
class Progress(Callback):
    """Shows step, rate, time left and the main terms: a bar in a terminal, plain lines elsewhere.

    Args:
      every_seconds: plain lines come no more often than this.
    """

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
        parts = [f"step {run.step:,}/{run.num_steps:,}", f"{metrics['examples_per_second']:,.0f} images/s"]
        began, first_step = self._first_log
        if run.step > first_step:
            seconds = (now - began) / (run.step - first_step) * (run.num_steps - run.step)
            parts.append(f"{_duration(seconds)} left")
        parts += [f"{label} {run.metrics[name]:.2f}" for name, label in _SHOWN.items() if name in run.metrics]
        self._line.update(parts, run.step / run.num_steps, last=run.step >= run.num_steps)

    def on_train_end(self, run: RunContext) -> None:
        self._line.close()


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(int(seconds + 0.5), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"
